"""llama.cpp as a peer of the language model alone: a prompt, and one token behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch


class LlamaCpp:
    """A GGUF in llama.cpp, through ``llama-cpp-python``, with as many threads as torch has.

    Args:
        file: the GGUF.
        prompt: token ids; they are one batch of llama.cpp's.
        new_tokens: room behind them.
        device: on another than the CPU, all of it is offloaded.

    Attributes:
        model: ``llama_cpp.Llama``.
    """

    def __init__(self, file: Path, prompt: Sequence[int], new_tokens: int, device: torch.device) -> None:
        import llama_cpp

        self._prompt, self._wait = list(prompt), llama_cpp.llama_synchronize
        self.model: Any = llama_cpp.Llama(
            str(file),
            n_ctx=len(prompt) + new_tokens,
            n_batch=len(prompt),
            n_ubatch=len(prompt),
            n_threads=torch.get_num_threads(),
            n_threads_batch=torch.get_num_threads(),
            n_gpu_layers=0 if device.type == "cpu" else -1,
            verbose=False,
        )

    def prefill(self) -> None:
        """Runs the prompt, from an empty cache."""
        self.model.reset()
        self.model.eval(self._prompt)
        self._wait(self.model.ctx)

    def decode(self, tokens: int) -> None:
        """Runs so many tokens one by one, the first right behind the prompt."""
        self.model.n_tokens = len(self._prompt)
        for _ in range(tokens):
            self.model.eval(self._prompt[:1])
        self._wait(self.model.ctx)
