"""What a run reports beside its figures: the machine, and the figures as text."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..model.dtypes import default_dtype, dtype_name

CPUINFO = Path("/proc/cpuinfo")
INSTRUCTIONS = (
    *("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "sve", "bf16"),
)
"""What decides how fast a processor multiplies matrices, as Linux calls it: on x86, and on ARM."""


def describe_machine(device: str) -> dict[str, Any]:
    """Hardware and versions."""
    from importlib.metadata import version

    about: dict[str, Any] = {
        "processor": _processor(),
        "instructions": _instructions(),
        "default_dtype": dtype_name(default_dtype(torch.device(device))),
        "threads": torch.get_num_threads(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "iaa": __version__,
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "python": platform.python_version(),
    }
    if torch.device(device).type == "cuda":
        about["gpu"] = torch.cuda.get_device_name(device)
    return about


def _processor() -> str:
    """The processor's name; with the numbers of its kind, since a rented machine may call all kinds the same."""
    about = _cpuinfo()
    kind = [f"{key.removeprefix('cpu ')} {about[key]}" for key in ("cpu family", "model") if key in about]
    named = about.get("model name") or platform.processor() or platform.machine()
    return f"{named} ({', '.join(kind)})" if kind else named


def _instructions() -> str:
    """Those of ``INSTRUCTIONS`` that are there; off Linux, the set that torch found."""
    about = _cpuinfo()
    present = about.get("flags", about.get("Features", "")).split()
    found = [name for name in INSTRUCTIONS if name in present]
    return " ".join(found) or torch.backends.cpu.get_cpu_capability().lower()


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first processor."""
    lines = CPUINFO.read_text().partition("\n\n")[0].splitlines() if CPUINFO.exists() else []
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def memory_line(memory: dict[str, int | None]) -> str:
    """The memory of the first caption in words, from bytes; None where unknown, nothing where it was not measured."""
    figures = {"weights": memory.get("weights"), "at most": memory.get("caption")}
    known = [f"{name} {count / 1e9:.2f} GB" for name, count in figures.items() if count is not None]
    return f"memory of a caption: {', '.join(known)}" if memory else ""


def machine_lines(machine: dict[str, Any]) -> str:
    """The machine in words: what it is, and its rates."""
    about = ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in machine.items() if key not in ("memory", "matrix")
    )
    return f"{about}\nmoves {machine['memory'] / 1e9:.1f} GB/s, multiplies {machine['matrix'] / 1e9:.0f} GFLOP/s"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table: time, share of the roofline reached, noise, and comparisons."""
    lines = ["| what | time | roofline | reached | spread | |", "|---|---:|---:|---:|---:|---|"]
    for row in rows:
        best = row.get("floor_seconds")
        compared = [
            f"{key.replace('_', ' ')}: {value if isinstance(value, bool) else f'{value:.2f}'}"
            for key, value in row.items()
            if key in ("ratio_to_singles", "ratio_to_one", "ours_to_theirs", "identical_tokens")
        ]
        compared += [f"to {other}: {ratio:.2f}" for other, ratio in row.get("ratios", {}).items()]
        shown = [f"{best * 1e3:.1f} ms", f"{best / row['seconds']:.0%}"] if best else ["", ""]
        lines.append(
            f"| {row['name']} | {row['seconds'] * 1e3:.1f} ms | {' | '.join(shown)} | {row['spread']:.0%} | "
            f"{', '.join(compared)} |"
        )
    return "\n".join(lines)
