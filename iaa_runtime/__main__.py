"""The ``iaa`` command, as ``python -m iaa_runtime`` too; it listens for Ctrl-C before anything else is imported."""

from __future__ import annotations

import sys


def main() -> int:
    """Runs the command line and returns its exit code."""
    try:
        from .cli import main as run

        return run()
    except KeyboardInterrupt:  # before the command line could say so
        return 130


if __name__ == "__main__":
    sys.exit(main())
