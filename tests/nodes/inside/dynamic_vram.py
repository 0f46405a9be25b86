"""A custom node that does what ComfyUI's main.py does where it finds an NVIDIA card: dynamic VRAM management is on."""

import logging

import comfy.memory_management
import comfy.model_patcher

comfy.memory_management.aimdo_enabled = True
comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
logging.info("dynamic VRAM management is forced on")

NODE_CLASS_MAPPINGS: dict[str, type] = {}
