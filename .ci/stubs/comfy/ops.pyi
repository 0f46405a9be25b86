from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

class CastWeightBiasOp:
    comfy_cast_weights: bool

class CastBiasWeightContext(AbstractContextManager[tuple[Tensor, Tensor]]):
    def __init__(
        self,
        s: nn.Module,
        *,
        dtype: torch.dtype,
        bias_dtype: torch.dtype,
        device: torch.device,
        offloadable: bool = False,
    ) -> None: ...
    def __exit__(self, *exception: object) -> None: ...

manual_cast: Any
