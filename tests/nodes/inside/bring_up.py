"""Brings ComfyUI and the pack up inside one Python, on the CPU and without a server. To be imported before ComfyUI."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path
from types import ModuleType

import comfy.options

comfy.options.enable_args_parsing(False)

from comfy.cli_args import args  # noqa: E402

args.cpu = True

import nodes  # noqa: E402

PACK = Path(__file__).parents[3]


def load_pack() -> tuple[ModuleType, float]:
    """Loads the pack as ComfyUI does; returns its ``nodes`` package and the seconds of processor time it took."""
    logging.getLogger().setLevel(logging.WARNING)
    started = time.process_time()
    if not asyncio.run(nodes.load_custom_node(str(PACK))):
        raise RuntimeError("ComfyUI could not load the pack.")
    return sys.modules[f"{str(PACK).replace('.', '_x_')}.nodes"], time.process_time() - started
