"""What a run reports beside its figures: the machine, and the figures as text."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .. import __version__


def describe_machine(device: str) -> dict[str, Any]:
    """Hardware and versions."""
    from importlib.metadata import version

    about: dict[str, Any] = {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "iaa": __version__,
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "python": platform.python_version(),
    }
    if torch.device(device).type == "cuda":
        about["gpu"] = torch.cuda.get_device_name(device)
    return about


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()


def memory_line(memory: dict[str, int | None]) -> str:
    """The memory of the first caption in words, from bytes; None where unknown."""
    figures = {"weights": memory["weights"], "at most": memory["caption"]}
    known = [f"{name} {count / 1e9:.2f} GB" for name, count in figures.items() if count is not None]
    return f"memory of a caption: {', '.join(known)}"


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
        shown = [f"{best * 1e3:.1f} ms", f"{best / row['seconds']:.0%}"] if best else ["", ""]
        lines.append(
            f"| {row['name']} | {row['seconds'] * 1e3:.1f} ms | {' | '.join(shown)} | {row['spread']:.0%} | "
            f"{', '.join(compared)} |"
        )
    return "\n".join(lines)
