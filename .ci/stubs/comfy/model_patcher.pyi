from typing import Any

import torch
from torch import nn

class ModelPatcher:
    model: nn.Module
    load_device: torch.device
    offload_device: torch.device
    def __init__(self, model: nn.Module, load_device: torch.device, offload_device: torch.device) -> None: ...
    def is_dynamic(self) -> bool: ...
    def __getattr__(self, name: str) -> Any: ...

CoreModelPatcher: type[ModelPatcher]
