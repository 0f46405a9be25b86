"""The processes that share a job: which one this is, and how they wait for each other."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

from ..errors import InputError

PATIENCE = timedelta(days=30)
"""How long a process waits for the others: the slowest may have hours of work when the first is done."""

_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers (torchrun and accelerate, Open MPI, Intel MPI, MVAPICH) write the number of processes."""


@dataclass(frozen=True)
class Team:
    """One process among those of a job; the default is a process alone.

    Attributes:
        index: this process's number, from 0.
        size: how many there are, on all machines.
        device: the torch device that is this process's own; empty for a process alone, which may choose.
    """

    index: int = 0
    size: int = 1
    device: str = ""

    @property
    def is_main(self) -> bool:
        """Whether this process does what is done once: lists, exports, talk."""
        return self.index == 0

    def wait(self) -> None:
        """Returns once all processes have come here."""
        if self.size > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()

    def part(self) -> None:
        """Leaves the other processes, at the end."""
        if self.size > 1:
            from torch import distributed

            distributed.destroy_process_group()


def launched_processes() -> int:
    """How many processes a launcher says that it started; 1 where there is no launcher."""
    return max([int(os.environ[name]) for name in _SIZES if os.environ.get(name, "").isdecimal()], default=1)


def join_team(device: str = "auto") -> Team:
    """Joins the processes that ``accelerate launch`` (or torchrun, or mpirun) started; a lone process stays alone.

    Args:
        device: where the job is to run; without accelerators, or for ``"cpu"``, processes talk through gloo.

    Raises:
        InputError: several processes were launched, and accelerate is not installed.
    """
    if launched_processes() == 1:
        return Team()
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
    return Team(state.process_index, state.num_processes, str(state.device))
