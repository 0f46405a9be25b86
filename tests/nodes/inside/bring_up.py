"""Brings ComfyUI and the pack up inside one Python, without a server. To be imported before ComfyUI.

It computes on the CPU, unless COMFYUI_GPU is set.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from pathlib import Path
from types import ModuleType

import comfy.options

comfy.options.enable_args_parsing(False)

from comfy.cli_args import args  # noqa: E402

args.cpu = not os.environ.get("COMFYUI_GPU")

import nodes  # noqa: E402

PACK = Path(__file__).parents[3]


def load_pack(folder: Path = PACK) -> tuple[ModuleType, float]:
    """Loads the pack in a folder as ComfyUI does; returns it, and the seconds of processor time that this took."""
    logging.getLogger().setLevel(logging.WARNING)
    started = time.process_time()
    if not asyncio.run(nodes.load_custom_node(str(folder))):
        sys.exit("ComfyUI could not load the pack, for the reason above.")
    seconds = time.process_time() - started
    # ComfyUI names a pack's module after its whole path, but without dots, which would make it a part of another.
    return sys.modules[str(folder).replace(".", "_x_")], seconds


def part_of(pack: ModuleType, module: str) -> bool:
    """Whether a module of this name belongs to the pack."""
    return module == pack.__name__ or module.startswith(f"{pack.__name__}.")
