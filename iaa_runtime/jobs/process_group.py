"""The processes that share a job: which one this is, and how they wait for each other."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import timedelta

from ..errors import InputError

PATIENCE = timedelta(days=30)
"""How long a process waits for the others: the slowest may need hours after the first is done."""
POLL_SECONDS = 0.05

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
            everyone = distributed.barrier(async_op=True, device_ids=None if index is None else [index])
            while not everyone.is_completed():
                time.sleep(POLL_SECONDS)
            everyone.wait()

    def leave(self) -> None:
        """Waits for the others, then leaves the group for good."""
        self.barrier()
        if self.world_size > 1:
            from torch import distributed

            distributed.destroy_process_group()


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
