"""``iaa info``: a checkpoint's geometry, banks, missing parts, and the memory that each task needs."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from ..checkpoint.checkpoint import MERGED, Checkpoint
from ..config import BANK_NAMES, BankName, Task
from ..errors import CheckpointError
from ..generation.memory import CARDS, FORMATS, Format, task_bytes, weight_bytes
from ..model.banks import bank_shapes, whole_numbers
from ..model.devices import pick_device
from ..model.dtypes import dtype_name, embedding_dtype, pick_dtype
from ..model.linear.kinds import stored_kinds
from ..model.store import kinds_in
from ..text.printable import printable
from ..text.tokenizer_file import checked_tokenizer
from .opening import open_checkpoint
from .output import print_json, size_text

COLUMNS = {"fp32": "fp32", "bf16": "bf16/fp16", "int8": "int8/fp8", "int4": "int4"}
"""Formats that differ in size, and the heads of their columns."""
BOTH = (Task.MM, Task.G)
"""What is open together where things are named and then found."""


def run(options: argparse.Namespace) -> int:
    """Describes the checkpoint from its headers, without loading weights; fails if something is missing."""
    about = describe(open_checkpoint(options)) | {"here": _here(options)}
    if options.json:
        print_json(about)
    else:
        _print(about)
    return 1 if about["missing"] else 0


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """What ``iaa info --json`` prints of a checkpoint."""
    config, vision = checkpoint.config, checkpoint.vision
    parameters: dict[BankName, int] = {}
    missing: list[str] = []
    kinds = kinds_in(checkpoint, stored_kinds(checkpoint.precision))
    for bank in BANK_NAMES:
        if bank == "vision" and vision is None and not checkpoint.without_pictures:
            missing.append(_reason(checkpoint.require_vision))
            continue
        if checkpoint.precision is not None and not checkpoint.has(bank):
            continue  # converted for other tasks
        parameters[bank] = sum(map(math.prod, bank_shapes(bank, config, vision).values()))
        stored = bank_shapes(bank, config, vision, kinds), whole_numbers(bank, config, vision, kinds)
        if problem := _reason(partial(checkpoint.check, bank, *stored)):
            missing.append(problem)
    if problem := _reason(partial(checked_tokenizer, checkpoint.folder)):
        missing.append(problem)
    tasks = [task for task in Task if parameters.keys() >= set(task.banks) - {"vision"}]
    formats = {task: _formats(checkpoint, task) for task in tasks}
    return {
        "folder": str(checkpoint.folder),
        "precision": checkpoint.precision,
        "merged_adaptors": _merged(checkpoint),
        "config": asdict(config),
        "vision": asdict(vision) if vision else None,
        "banks": {
            bank: {
                "parameters": n,
                "stored_bytes": checkpoint.nbytes(bank),
                "stored_as": sorted(checkpoint.dtypes(bank)),
            }
            for bank, n in parameters.items()
        },
        "tasks": {
            task.value: {
                "blocks": config.num_blocks if task.sees else config.num_hidden_layers,
                "bytes": {name: weight_bytes(config, vision, task, form) for name, form in formats[task].items()},
                "needed_bytes": {name: task_bytes(config, vision, task, form) for name, form in formats[task].items()},
            }
            for task in tasks
        },
        "fits": {
            str(size): {
                task.value: [
                    name
                    for name, form in formats[task].items()
                    if task_bytes(config, vision, task, form) <= size * 10**9
                ]
                for task in tasks
            }
            for size in CARDS
        },
        "both_needed_bytes": {
            name: task_bytes(config, vision, BOTH, form)
            for name, form in (formats[Task.MM] if formats.keys() >= set(BOTH) else {}).items()
        },
        "missing": missing,
    }


def _merged(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """The adaptors whose updates are in the weights, as they were noted down; what is no such note is skipped."""
    noted = checkpoint.config_raw.get(MERGED)
    return [
        {"digest": row[0], "strength": row[1]}
        for row in (noted if isinstance(noted, list) else [])
        if isinstance(row, list)
        and len(row) == 2
        and isinstance(row[0], str)
        and isinstance(row[1], (int, float))
        and not isinstance(row[1], bool)
    ]


def _here(options: argparse.Namespace) -> dict[str, str]:
    """The device and the dtype that commands choose on this machine, with the same options and environment."""
    device = pick_device(options.device)
    return {"device": str(device), "dtype": dtype_name(pick_dtype(options.dtype, device))}


def _formats(checkpoint: Checkpoint, task: Task) -> dict[str, Format]:
    """What a task of the checkpoint can be opened in, by name, the most exact first."""
    stored = checkpoint.embedding_dtype(task.stack_bank)
    return {
        name: replace(form, embedding_dtype=embedding_dtype(stored, form.dtype))
        for name, form in FORMATS.items()
        if checkpoint.precision in (None, name)
    }


def _reason(check: Callable[[], object]) -> str:
    """The message with which a check fails; empty if it does not."""
    try:
        check()
    except CheckpointError as error:
        return str(error)
    return ""


def _print(about: dict[str, Any]) -> None:
    llama, clip = about["config"], about["vision"]
    print(about["folder"] + (f" (converted to {about['precision']})" if about["precision"] else ""))
    print("  Llama: {num_hidden_layers} layers of {hidden_size} (MLP {intermediate_size}),".format(**llama))
    print("         {num_attention_heads} heads of {head_dim},".format(**llama), end=" ")
    print("{num_key_value_heads} for keys and values,".format(**llama))
    print("         vocabulary {vocab_size}, context {max_position_embeddings}".format(**llama))
    print(f"  adaptors behind layers {', '.join(map(str, llama['iaa_insert_layers']))}")
    for adaptor in about["merged_adaptors"]:
        print(f"  merged: adaptor {printable(adaptor['digest'])} at strength {adaptor['strength']:g}")
    if clip:
        print("  CLIP: {num_hidden_layers} layers of {hidden_size},".format(**clip), end=" ")
        print("images of {image_size} pixels in patches of {patch_size};".format(**clip), end=" ")
        print(f"projector {llama['mm_projector_type']}")
    print("\n  bank      parameters     stored")
    for name, bank in about["banks"].items():
        print(
            f"  {name:<8}{bank['parameters']:>12,}{size_text(bank['stored_bytes']):>11} {', '.join(bank['stored_as'])}"
        )
    columns = {form: head for form, head in COLUMNS.items() if about["precision"] in (None, *head.split("/"))}
    heads = "".join(f"{head:>11}" for head in columns.values())

    def sizes(of: dict[str, int]) -> str:
        return "".join(f"{size_text(of[form if form in of else about['precision']]):>11}" for form in columns)

    print(f"\n  weights blocks{heads}")
    for name, task in about["tasks"].items():
        print(f"  {name:<8}{task['blocks']:>6}{sizes(task['bytes'])}")
    print(f"\n  needs         {heads}   (with KV cache and activations)")
    for name, task in about["tasks"].items():
        print(f"  {name:<14}{sizes(task['needed_bytes'])}")
    if about["both_needed_bytes"]:
        print(f"  {'MM and G':<14}{sizes(about['both_needed_bytes'])}")
    print("\n  fits into " + "".join(f"{size:>8} GB" for size in about["fits"]))
    for name in about["tasks"]:
        best = [next(iter(tasks[name]), "–") for tasks in about["fits"].values()]
        print(f"  {name:<10}" + "".join(f"{form:>11}" for form in best))
    print("\n  computes on {device} in {dtype} here, unless --device and --dtype say otherwise".format(**about["here"]))
    for problem in about["missing"]:
        print(f"\n  Missing: {problem}")
