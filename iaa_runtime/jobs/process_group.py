"""The processes that share a job: which one this is, and how they wait for each other."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

PATIENCE = timedelta(days=30)
"""How long a process waits for the others: the slowest may need hours after the first is done."""
POLL_SECONDS, ADDING_SECONDS = 0.05, 0.001
"""Between two looks whether the others have come: at a barrier, and in a sum, of which there is one a step."""

_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers (torchrun and accelerate, Open MPI, Intel MPI, MVAPICH) write the number of processes."""


@dataclass(frozen=True)
class ProcessGroup:
    """One process among those of a job; the default is a process alone.

    Attributes:
        rank: this process's number, from 0.
        world_size: how many processes there are, on all machines.
        device: this process's torch device; empty for a process alone, which may choose.
    """

    rank: int = 0
    world_size: int = 1
    device: str = ""

    @property
    def is_main(self) -> bool:
        """Whether this process does what is done once: listing, exporting, printing."""
        return self.rank == 0

    def barrier(self) -> None:
        """Waits until every process has called this; signals are heard meanwhile."""
        if self.world_size > 1:
            import torch
            from torch import distributed

            index = torch.device(self.device).index
            _wait(distributed.barrier(async_op=True, device_ids=None if index is None else [index]), POLL_SECONDS)

    def share(self, items: Sequence[T]) -> list[T]:
        """What this process does of what all do together."""
        return list(items[self.rank :: self.world_size])

    def add(self, tensor: Tensor) -> None:
        """Sums a tensor of one shape over all processes, in place; waits for them, and hears signals meanwhile."""
        if self.world_size > 1:
            from torch import distributed

            here = tensor.to(self.device)  # where the processes meet, wherever somebody put the model
            _wait(distributed.all_reduce(here, async_op=True), ADDING_SECONDS)
            if here is not tensor:
                tensor.copy_(here)

    def leave(self) -> None:
        """Waits for the others, then leaves the group for good."""
        self.barrier()
        if self.world_size > 1:
            from torch import distributed

            distributed.destroy_process_group()


def _wait(everyone: Any, seconds: float) -> None:
    while not everyone.is_completed():
        time.sleep(seconds)
    everyone.wait()


def launched_processes() -> int:
    """The number of processes that a launcher started; 1 without a launcher."""
    return max([int(os.environ[name]) for name in _SIZES if os.environ.get(name, "").isdecimal()], default=1)


def join_process_group(device: str = "auto") -> ProcessGroup:
    """Joins the processes that ``accelerate launch`` (or torchrun, or mpirun) started; a lone process stays alone.

    Args:
        device: of the job; for ``"cpu"``, and without accelerators, processes communicate through gloo.

    Raises:
        InputError: several processes were launched, and accelerate is not installed.
    """
    if launched_processes() == 1:
        return ProcessGroup()
    try:
        from accelerate import PartialState
    except ImportError:
        raise InputError(
            f"{launched_processes()} processes were launched, but accelerate, through which they find each other, is "
            "not installed. Install it with: pip install accelerate."
        ) from None
    import torch

    on_cpu = device == "cpu" or not (torch.cuda.is_available() or torch.xpu.is_available())
    state = PartialState(cpu=on_cpu, timeout=PATIENCE)
    return ProcessGroup(state.process_index, state.num_processes, str(state.device))
