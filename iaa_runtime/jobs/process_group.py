"""The processes that share a job: which one this is, and how they wait for each other."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

JOINING, PATIENCE = timedelta(minutes=10), timedelta(days=30)
"""How long a process waits for the others: to come; and later, when the slowest may need hours more than the first."""
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
        group: torch's handle of all of them; None for a process alone.
    """

    rank: int = 0
    world_size: int = 1
    device: str = ""
    group: Any = field(default=None, repr=False, compare=False)

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
            devices = None if index is None else [index]
            _wait(distributed.barrier(self.group, async_op=True, device_ids=devices), POLL_SECONDS)

    def share(self, items: Sequence[T]) -> list[T]:
        """What this process does of what all do together."""
        return list(items[self.rank :: self.world_size])

    def add(self, tensor: Tensor) -> None:
        """Sums a tensor of one shape over all processes, in place; waits for them, and hears signals meanwhile."""
        if self.world_size > 1:
            from torch import distributed

            here = tensor.to(self.device)  # where the processes meet, wherever somebody put the model
            _wait(distributed.all_reduce(here, group=self.group, async_op=True), ADDING_SECONDS)
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
    """Joins the processes that ``accelerate launch`` or torchrun started; a lone process stays alone.

    Args:
        device: of the job; for ``"cpu"``, and without accelerators, processes communicate through gloo.

    Raises:
        InputError: several processes were launched, and accelerate is not installed, or they do not find each other.
    """
    if (launched := launched_processes()) == 1:
        return ProcessGroup()
    try:
        from accelerate import PartialState
    except ImportError:
        raise InputError(
            f"{launched} processes were launched, but accelerate, through which they find each other, is not "
            "installed. Install it with: pip install accelerate."
        ) from None
    import torch
    from torch import distributed

    on_cpu = device == "cpu" or not (torch.cuda.is_available() or torch.xpu.is_available())
    place = f"{os.environ.get('MASTER_ADDR', 'no address')}:{os.environ.get('MASTER_PORT', 'no port')}"
    try:
        with _signals_end_it():
            state = PartialState(cpu=on_cpu, timeout=JOINING)
    except (ValueError, RuntimeError) as error:  # torch's, of its environment and of its network
        raise InputError(
            f"{launched} processes were launched, and did not find each other at {place} ({error}). Start all of them "
            "with accelerate launch or torchrun, on every machine with the same address."
        ) from error
    if state.num_processes != launched:  # each would take itself for the only one, and write the same files
        raise InputError(
            f"{launched} processes were launched, of which accelerate finds {state.num_processes}. Start them with "
            "accelerate launch or torchrun."
        )
    group = distributed.new_group(timeout=PATIENCE)
    return ProcessGroup(state.process_index, state.num_processes, str(state.device), group)


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """Lets signals end the process at once: what waits in C++ hears nothing else, and nothing has been written yet."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = {number: handler for number, handler in handlers.items() if callable(handler)}  # others do so, or ignore it
    for number in ours:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
