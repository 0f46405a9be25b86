"""A custom node that does what ComfyUI's main.py does where it finds an NVIDIA card: dynamic VRAM management is on.

On a CPU that makes ComfyUI's layers lazy, which have no weight until one is loaded; the dynamic patcher gives way to
the classic one there. It is at work in ``test_on_gpu.py`` alone.
"""

import logging

import comfy.memory_management
import comfy.model_patcher

comfy.memory_management.aimdo_enabled = True
comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
logging.info("dynamic VRAM management is forced on")

NODE_CLASS_MAPPINGS: dict[str, type] = {}
