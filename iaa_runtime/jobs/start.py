"""Starts a job in a folder, goes on with the one that is there, or adds items to it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import InputError
from .files import TEMPORARY, file_digest, json_line, make_folder, read_text, write_bytes, write_jsonl
from .job import FIRST_LIST, MANIFEST, Job, Jsonl, Row, ShardFormat, shortened
from .process_group import ProcessGroup

_FORMAT = 1


def open_job(
    folder: Path,
    settings: Row,
    rows: Callable[[], Iterable[Row]],
    shard_size: int,
    batch: int,
    shard_format: ShardFormat | None = None,
    group: ProcessGroup | None = None,
    is_record: Callable[[Row], bool] = bool,
    more: Callable[[Job], Iterable[Row]] = lambda job: (),
    dry_run: bool = False,
) -> tuple[Job, bool]:
    """Starts a job, or resumes the one that the folder holds.

    Args:
        folder: the job's; created if absent.
        settings: everything else that decides what the shards hold, as JSON.
        rows: gives the items; called at the first start only, so that a folder that grows does not shift them. What it
            raises leaves no job behind, so it is the place to refuse settings.
        shard_size: items in a shard.
        batch: items computed at once; a job may go on with another number.
        shard_format: JSON lines when None.
        group: the processes that work on it; this one alone when None.
        is_record: whether an object in a shard has the fields of a record, each of its kind.
        more: gives items that are added to a resumed job, in shards of their own.
        dry_run: write nothing: the job is as it would be, and its folder may not be there.

    Returns:
        The job, and whether it was resumed.

    Raises:
        InputError: the folder holds a job with other settings, or something else, a list of items is damaged, or
            there are no items.
    """
    group, shard_format = group or ProcessGroup(), shard_format or Jsonl()
    mine = {"shard_size": shard_size, "batch": batch, "format": shard_format.suffix[1:]}
    settings = json.loads(json.dumps(settings | mine))

    def there() -> Job:
        manifest = _read_manifest(folder)
        _compare(folder, manifest["settings"], settings)
        counts = tuple(count for count, _ in _parts(manifest))
        return Job(folder, counts, shard_size, batch, shard_format, is_record)

    known = check_folder(folder)
    if dry_run:
        job = there() if known else Job(folder, (), shard_size, batch, shard_format, is_record)
        added = sum(1 for _ in more(job)) if known else _check_count(sum(1 for _ in rows()))
        return replace(job, counts=(*job.counts, added) if added else job.counts), known
    group.barrier()  # before the main process changes what the others have just looked at
    if group.is_main and known:
        job = there()
        _check_lists(job)
        job.discard_damaged()
        _add(job, more(job))
    elif group.is_main:
        _start(folder, settings, rows)
    group.barrier()  # before the others look which shards are missing
    return there(), known


def check_folder(folder: Path) -> bool:
    """Whether a folder holds a job; raises :class:`InputError` where it neither does nor may become one."""
    try:
        if (folder / MANIFEST).exists():
            return True
        there = folder.iterdir() if os.path.lexists(folder) else ()
        strange = [path.name for path in there if not path.name.endswith(TEMPORARY)]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} cannot be used ({getattr(error, 'strerror', error)}). Choose another place."
        ) from error
    if strange:
        raise InputError(
            f"{folder} holds something, and no job of ours ({sorted(strange)[0]}). Choose a new or an empty folder; "
            "if a start was cut short there, remove what it left."
        )
    return False


def _start(folder: Path, settings: Row, rows: Callable[[], Iterable[Row]]) -> None:
    make_folder(folder)
    count = _write_list(folder / FIRST_LIST, rows())
    manifest = {"version": _FORMAT, "count": count, "list": file_digest(folder / FIRST_LIST), "settings": settings}
    write_bytes(folder / MANIFEST, json_line(manifest))


def _add(job: Job, rows: Iterable[Row]) -> None:
    """Adds items, if there are any: their list first, so that a job that is killed meanwhile has none of them."""
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return
    path = job.list_file(len(job.counts))
    count = _write_list(path, chain([first], rows))
    manifest = _read_manifest(job.folder)
    manifest["added"] = [*manifest.get("added", ()), {"count": count, "list": file_digest(path)}]
    write_bytes(job.folder / MANIFEST, json_line(manifest), overwrite=True)


def _write_list(path: Path, rows: Iterable[Row]) -> int:
    """Writes a list of items; returns how many they are."""
    count = 0

    def counted() -> Iterator[Row]:
        nonlocal count
        for row in rows:
            count += 1
            yield row
        _check_count(count)

    write_jsonl(path, counted(), overwrite=True)
    return count


def _check_count(count: int) -> int:
    if not count:
        raise InputError("There is nothing to do: the list is empty. Check what you gave.")
    return count


def _parts(manifest: Row) -> list[tuple[int, str | None]]:
    """How many items were there at the start and came with each addition, and the digests of their lists."""
    parts = [manifest, *manifest.get("added", ())]
    if not all(type(part["count"]) is int and part["count"] > 0 for part in parts):
        raise ValueError("it counts no items")
    return [(part["count"], part.get("list")) for part in parts]  # old manifests have no digest


def _check_lists(job: Job) -> None:
    """Raises :class:`InputError` unless the lists of items are those that were written."""
    for part, (count, digest) in enumerate(_parts(_read_manifest(job.folder))):
        path = job.list_file(part)
        if digest is not None and digest != file_digest(path):
            raise InputError(
                f"{path} does not hold the {count:,} items that were listed: it was changed or cut. Start anew in "
                "another folder."
            )


def _read_manifest(folder: Path) -> Row:
    try:
        manifest: Row = json.loads(read_text(folder / MANIFEST))
        if manifest["version"] != _FORMAT:
            reason = f"it has version {manifest['version']}, and this program writes {_FORMAT}"
        elif _parts(manifest) and manifest["settings"].keys():
            return manifest
        else:
            reason = "it was not written so"
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    raise InputError(
        f"{folder / MANIFEST} cannot be read ({reason}). On several machines the folder must be on a disk that all "
        "share. Otherwise start anew in another folder."
    )


def _compare(folder: Path, there: Row, here: Row) -> None:
    # What runs out of memory goes on with a smaller batch.
    changed = [name for name in {**there, **here} if name != "batch" and there.get(name) != here.get(name)]
    if changed:
        listed = "; ".join(
            f"{name} is {_show(there.get(name))} there and {_show(here.get(name))} now" for name in changed
        )
        raise InputError(
            f"{folder} holds a job with other settings: {listed}. Give the same ones to go on with it, or another "
            "folder for a job of its own."
        )


def _show(value: Any) -> str:
    return shortened(json.dumps(value, ensure_ascii=False))
