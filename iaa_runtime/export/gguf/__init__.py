"""Writes a task as GGUF, for llama.cpp: the language model and, for MM and G, the tower with the projector.

Through the package ``gguf``. Not: what llama.cpp's server is asked (pipeline/remote/llama_cpp.py).
"""

from __future__ import annotations

from .file import TYPES
from .write import export_gguf

__all__ = ["TYPES", "export_gguf"]
