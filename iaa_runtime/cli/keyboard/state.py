"""Where programs remember things for a user, for their eyes only: ``iaa`` in XDG_STATE_HOME or ``~/.local/state``.

On Windows it is in LOCALAPPDATA.
"""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import InputError
from ...jobs.files import make_folder


def state_folder() -> Path:
    """The folder, made if need be, private.

    Raises:
        InputError: it cannot be used.
    """
    named = os.environ.get("XDG_STATE_HOME") or (os.environ.get("LOCALAPPDATA") if os.name == "nt" else None)
    try:
        folder = (Path(named) if named else Path.home() / ".local" / "state") / "iaa"
        make_folder(folder)
        folder.chmod(0o700)
    except (OSError, RuntimeError) as error:  # of others; there is no home
        raise InputError(f"The folder for what is remembered cannot be used ({error}). Set XDG_STATE_HOME.") from error
    return folder
