"""Opens what the options name: a checkpoint, a model on this machine, servers, or the processes of a job."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..checkpoint.checkpoint import DEMO_CHECKPOINT, Checkpoint
from ..errors import InputError, spelled
from ..jobs.process_group import ProcessGroup, join_process_group
from ..pipeline.base import Pipeline
from ..pipeline.local import IAAPipeline
from ..pipeline.remote import RemotePipeline, Timeouts
from ..pipeline.remote.pipeline import CONCURRENCY
from .output import log


def open_pipeline(options: argparse.Namespace) -> Pipeline:
    """Connects to the servers that the options name, or else opens the checkpoint."""
    if getattr(options, "server", None):
        concurrency = getattr(options, "batch", CONCURRENCY)
        timeouts = Timeouts() if options.server_timeout is None else Timeouts(silence=options.server_timeout)
        return RemotePipeline.connect(options.server, concurrency, timeouts)
    return open_model(options)


def open_model(options: argparse.Namespace) -> IAAPipeline:
    """Opens the checkpoint that the options name, on this machine; a message says when it is the demo one."""
    pipeline = IAAPipeline.from_pretrained(
        _folder(options),
        dtype=options.dtype,
        device=options.device,
        precision=None if options.precision == "full" else options.precision,
        vision_tower=_place("--vision-tower", options.vision_tower),
        download=options.download and not getattr(options, "dry_run", False),
    )
    if pipeline.is_demo:
        log("Demo checkpoint: a tiny model that knows only coloured shapes. Use --model for a real one.")
    return pipeline


def open_checkpoint(options: argparse.Namespace) -> Checkpoint:
    """Opens the headers of the checkpoint that the options name; no weights."""
    return Checkpoint(_folder(options), _place("--vision-tower", options.vision_tower))


def _folder(options: argparse.Namespace) -> str | Path:
    given = _place("--model", options.model)
    return DEMO_CHECKPOINT if given is None else given


def _place(option: str, given: str | None) -> str | None:
    """The path that an option gives, as given.

    Raises:
        InputError: no file can be called so.
    """
    if given is not None:
        try:
            Path(given).expanduser().exists()
        except (OSError, ValueError, RuntimeError) as error:  # too long, with NUL, or the home of nobody
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{option} {spelled(given)} is no path ({reason}). Check it.") from None
    return given


def join_processes(options: argparse.Namespace) -> ProcessGroup:
    """Joins the processes that a launcher started; ``--device auto`` then means this process's own device."""
    group = join_process_group(options.device)
    if group.device and options.device == "auto":
        options.device = group.device
    return group
