"""What a checkpoint is and what is asked of it: tasks, geometry, generation settings.

No weights and no torch; what lies on disk is in checkpoint.
"""

from .generation import BATCH_ROWS, GenerationConfig, GenerationOptions
from .geometry import CLIP_MEAN, CLIP_STD, PUBLISHED_INSERT_LAYERS, PUBLISHED_VISION_TOWER, IAAConfig, VisionConfig
from .numbers import DTYPE_NAMES, PRECISIONS, DtypeName, PrecisionName
from .task import BANK_NAMES, IMAGE_TOKEN_INDEX, BankName, Task

__all__ = [
    "BANK_NAMES",
    "BATCH_ROWS",
    "CLIP_MEAN",
    "CLIP_STD",
    "DTYPE_NAMES",
    "IMAGE_TOKEN_INDEX",
    "PRECISIONS",
    "PUBLISHED_INSERT_LAYERS",
    "PUBLISHED_VISION_TOWER",
    "BankName",
    "DtypeName",
    "GenerationConfig",
    "GenerationOptions",
    "IAAConfig",
    "PrecisionName",
    "Task",
    "VisionConfig",
]
