"""What a checkpoint is and what is asked of it: tasks, geometry, settings of generation. No weights, no torch."""

from .geometry import (
    BANK_NAMES,
    IMAGE_TOKEN_INDEX,
    PUBLISHED_INSERT_LAYERS,
    PUBLISHED_VISION_TOWER,
    BankName,
    GenerationConfig,
    IAAConfig,
    Task,
    VisionConfig,
)

__all__ = [
    "BANK_NAMES",
    "IMAGE_TOKEN_INDEX",
    "PUBLISHED_INSERT_LAYERS",
    "PUBLISHED_VISION_TOWER",
    "BankName",
    "GenerationConfig",
    "IAAConfig",
    "Task",
    "VisionConfig",
]
