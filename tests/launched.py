"""Two processes of one job, as ``accelerate launch`` starts them."""

from __future__ import annotations

from pathlib import Path

TWO_PROCESSES = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
"""What Python is given before a script or a module; on a machine without GPUs, too, where they talk through gloo."""


def workers(launcher: int) -> list[int]:
    """The processes of ours that a launcher has started."""
    children = [
        int(child) for task in Path(f"/proc/{launcher}/task").glob("*/children") for child in task.read_text().split()
    ]
    return [child for child in children if b"iaa_runtime" in Path(f"/proc/{child}/cmdline").read_bytes()]
