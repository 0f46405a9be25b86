"""Opens what the options name: a checkpoint, a model on this machine, servers, or the processes of a job."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..checkpoint.checkpoint import DEMO_CHECKPOINT, Checkpoint
from ..errors import InputError
from ..jobs.process_group import ProcessGroup, join_process_group
from ..pipeline.base import Pipeline
from ..pipeline.local import IAAPipeline
from ..pipeline.remote import RemotePipeline, Timeouts
from ..pipeline.remote.pipeline import CONCURRENCY
from .devices import DTYPES, PRECISIONS, pick_device
from .output import log


def open_pipeline(options: argparse.Namespace) -> Pipeline:
    """Connects to the servers that the options name, or else opens the checkpoint."""
    if getattr(options, "server", None):
        if options.model:
            raise InputError("--server and --model are two ways to get answers. Give one of them.")
        concurrency = getattr(options, "batch", CONCURRENCY)
        return RemotePipeline.connect(options.server, concurrency, Timeouts(silence=options.server_timeout))
    return open_model(options)


def open_model(options: argparse.Namespace) -> IAAPipeline:
    """Opens the checkpoint that the options name, on this machine; a message says when it is the demo one."""
    pipeline = IAAPipeline.from_pretrained(
        _folder(options),
        dtype=DTYPES[options.dtype],
        device=pick_device(options.device),
        precision=PRECISIONS[options.precision],
        vision_tower=options.vision_tower,
        download=options.download,
    )
    if pipeline.is_demo:
        log("Demo checkpoint: a tiny model that knows only coloured shapes. Use --model for a real one.")
    return pipeline


def open_checkpoint(options: argparse.Namespace) -> Checkpoint:
    """Opens the headers of the checkpoint that the options name; no weights."""
    return Checkpoint(_folder(options), options.vision_tower)


def _folder(options: argparse.Namespace) -> str | Path:
    return DEMO_CHECKPOINT if options.model is None else options.model


def join_processes(options: argparse.Namespace) -> ProcessGroup:
    """Joins the processes that a launcher started; ``--device auto`` then means this process's own device."""
    group = join_process_group(options.device)
    if group.device and options.device == "auto":
        options.device = group.device
    return group
