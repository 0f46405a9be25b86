"""Precisions side by side, and beside llama.cpp's: a prompt, and decode steps of one row and of eight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from ..checkpoint.checkpoint import Checkpoint
from ..config import Task
from ..generation.prefill import Prompt, prefill
from ..model.dtypes import DTYPES
from ..model.linear.int8_onednn import OneDNNInt8Linear
from ..pipeline.model import IAAModel
from .gguf_file import KINDS, write_without_vocabulary
from .llama_cpp import LlamaCpp

PROMPT = tuple(range(10, 650))
"""640 token ids, which is what a prompt about an image takes."""
ROWS = (1, 8)
STEPS = 4
"""Decode steps that are timed together."""

PREFILL = f"prefill {len(PROMPT)}"
DECODE = {rows: f"decode step x{rows}" for rows in ROWS}
DIVIDED = {PREFILL: 1} | dict.fromkeys(DECODE.values(), STEPS)
"""What is timed, and how many times each run does it."""

Runs = Mapping[str, Callable[[], object]]
"""A run of each of ``DIVIDED``, as far as an engine knows it."""


def forms(
    dtype: torch.dtype, device: torch.device, precisions: Sequence[str]
) -> dict[str, tuple[torch.dtype, str | None]]:
    """What is compared: name -> dtype and precision.

    Plain dtypes go first, with which the precisions, in ``dtype``, are compared: ``dtype`` itself, and on a CPU float32
    and bfloat16 in any case.
    """
    shown = ("fp32", "bf16") if device.type == "cpu" else ()
    plain = {name: (kind, None) for name, kind in DTYPES.items() if kind == dtype or name in shown}
    return plain | {name: (dtype, name) for name in precisions}


def runs_of(model: IAAModel, repeats: int) -> Runs:
    """Those of a model's MM stack, timed ``repeats`` times."""
    stack, prompt = model.stack(Task.MM), Prompt(PROMPT)
    runs: dict[str, Callable[[], object]] = {PREFILL: partial(prefill, stack, [prompt], 1)}
    packable = [layer for block in stack.blocks for layer in block.modules() if isinstance(layer, OneDNNInt8Linear)]
    for rows, name in DECODE.items():
        cache, logits = prefill(stack, [prompt], STEPS * (repeats + 1))
        every = torch.zeros(rows, dtype=torch.long, device=model.device)
        cache.select(every)
        steps, tokens = model.steps(stack, cache), logits.argmax(-1)[every]

        def decode(
            steps: Callable[[torch.Tensor], torch.Tensor] = steps, tokens: torch.Tensor = tokens, rows: int = rows
        ) -> None:
            for layer in packable if rows > 1 else ():
                if not layer.packed:  # only before the first round, which does not count
                    layer.pack()
            for _ in range(STEPS):
                tokens = steps(tokens).argmax(-1)

        runs[name] = decode
    return runs


def runs_of_llama_cpp(source: Checkpoint, folder: Path, device: torch.device) -> dict[str, Runs]:
    """Those of llama.cpp in each of its kinds, of the same weights, which go to files in ``folder``."""
    forms: dict[str, Runs] = {}
    for kind in KINDS:
        file = write_without_vocabulary(source, Task.MM, kind, folder / f"{kind}.gguf")
        peer = LlamaCpp(file, PROMPT, STEPS, device)
        peer.prefill()  # for the steps
        forms[f"llama.cpp {kind}"] = {PREFILL: peer.prefill, DECODE[1]: partial(peer.decode, STEPS)}
    return forms


def is_baseline(name: str) -> bool:
    """Whether a form is one that the others are compared with."""
    return name in DTYPES or name.startswith("llama.cpp")
