"""``python -m iaa_runtime`` is the ``iaa`` command."""

from __future__ import annotations

import sys

from .cli import main

sys.exit(main())
