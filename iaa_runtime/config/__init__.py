"""What a checkpoint is and what is asked of it: tasks, geometry, generation settings.

No weights and no torch; what lies on disk is in checkpoint.
"""

from .generation import GenerationConfig
from .geometry import CLIP_MEAN, CLIP_STD, PUBLISHED_INSERT_LAYERS, PUBLISHED_VISION_TOWER, IAAConfig, VisionConfig
from .task import BANK_NAMES, IMAGE_TOKEN_INDEX, BankName, Task

__all__ = [
    "BANK_NAMES",
    "CLIP_MEAN",
    "CLIP_STD",
    "IMAGE_TOKEN_INDEX",
    "PUBLISHED_INSERT_LAYERS",
    "PUBLISHED_VISION_TOWER",
    "BankName",
    "GenerationConfig",
    "IAAConfig",
    "Task",
    "VisionConfig",
]
