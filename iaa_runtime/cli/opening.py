"""Opens what the options name: a checkpoint, a model on this machine, servers, or the processes of a job."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..adaptors.loaded import Adaptors, Chosen
from ..adaptors.merge import merged
from ..checkpoint.checkpoint import DEMO_CHECKPOINT, Checkpoint
from ..checkpoint.download import fetch
from ..config import Task
from ..errors import AdaptorError, InputError, spelled
from ..jobs.process_group import ProcessGroup, join_process_group
from ..pipeline.base import Pipeline
from ..pipeline.local import IAAPipeline
from ..pipeline.remote import RemotePipeline, Timeouts
from ..pipeline.remote.pipeline import CONCURRENCY
from .output import log


def open_pipeline(options: argparse.Namespace, *tasks: Task) -> Pipeline:
    """Connects to the servers that the options name, or else opens the checkpoint; see :func:`open_model`."""
    if getattr(options, "server", None):
        concurrency = getattr(options, "batch", CONCURRENCY)
        timeouts = Timeouts() if options.server_timeout is None else Timeouts(silence=options.server_timeout)
        return RemotePipeline.connect(options.server, concurrency, timeouts)
    return open_model(options, *tasks)


def open_model(options: argparse.Namespace, *tasks: Task) -> IAAPipeline:
    """Opens the checkpoint that the options name, on this machine, with their adaptors.

    A message says when it is the demo one.

    Args:
        options: of the command.
        *tasks: those that answer; none where any may.

    Raises:
        AdaptorError: an adaptor is broken, was taught on another model, or is of none of ``tasks``.
    """
    pipeline = IAAPipeline.from_pretrained(
        _folder(options),
        dtype=options.dtype,
        device=options.device,
        precision=options.precision,
        vision_tower=_place("--vision-tower", options.vision_tower),
        download=options.download and not getattr(options, "dry_run", False),
    )
    tell_of_demo(pipeline)
    for chosen in _chosen(options, pipeline.adaptors, tasks or tuple(Task)):
        pipeline.adaptors.load(*chosen)
    return pipeline


def open_to_teach(options: argparse.Namespace) -> IAAPipeline:
    """Opens the checkpoint that the options name as :func:`iaa_runtime.teaching.frozen.open_frozen` does."""
    from ..teaching.frozen import open_frozen

    folder = _fetched(options)
    tower = _place("--vision-tower", options.vision_tower)
    pipeline = open_frozen(folder, options.dtype, options.device, options.precision, tower)
    tell_of_demo(pipeline)
    return pipeline


def tell_of_demo(pipeline: Pipeline) -> None:
    """Says so where the demo checkpoint answers."""
    if pipeline.is_demo:
        log(
            "Demo checkpoint: a tiny model that knows only coloured shapes, in pictures up to 3 : 1. Use --model for a "
            "real one."
        )


def open_checkpoint(options: argparse.Namespace, *tasks: Task) -> Checkpoint:
    """Opens the headers of the checkpoint that the options name, its adaptors merged in as it is read; no weights.

    It is fetched first where they ask for that.

    Args:
        options: of the command.
        *tasks: those that are read of it; none where any may be.

    Raises:
        AdaptorError: as :func:`open_model`.
        ConfigError: nothing can be merged into a checkpoint that was converted.
        DownloadError: it could not be fetched.
    """
    checkpoint = Checkpoint(_fetched(options), _place("--vision-tower", options.vision_tower))
    return merged(checkpoint, _chosen(options, Adaptors(checkpoint), tasks or tuple(Task)))


def _chosen(options: argparse.Namespace, adaptors: Adaptors, tasks: Sequence[Task]) -> Sequence[Chosen]:
    """The adaptors that the options name, read and checked."""
    chosen = adaptors.read(*(getattr(options, "adaptor", None) or ()))
    for adaptor, _ in chosen:
        if adaptor.task not in tasks:
            wanted = " and ".join(task.value for task in tasks)
            raise AdaptorError(
                f"The adaptor is for task {adaptor.task.value}, and what is asked here is {wanted}: it would change "
                "nothing. Leave it out."
            )
    return chosen


def _fetched(options: argparse.Namespace) -> Path:
    """The folder that the options name, fetched if it is not here and they ask for that."""
    folder = Path(_folder(options)).expanduser()
    return fetch(options.model) if options.download and not folder.exists() else folder


def _folder(options: argparse.Namespace) -> str | Path:
    """What the options name, or the demo checkpoint.

    Raises:
        InputError: no file can be called so, or it would have to be fetched in a dry run.
    """
    given = _place("--model", options.model)
    if given is None:
        return DEMO_CHECKPOINT
    if options.download and getattr(options, "dry_run", False) and not Path(given).expanduser().exists():
        raise InputError(
            f"There is no checkpoint at {spelled(given)}, and --dry-run fetches none. Fetch it first, with "
            "iaa info --download, and give the folder that it names."
        )
    return given


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
