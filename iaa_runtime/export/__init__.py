"""Writes a checkpoint anew: a task as one of stock classes, since each workflow is an ordinary LLaVA or Llama, its
blocks in a row; or the whole in a lower precision, for this runtime.

The former loads in transformers, vLLM and other engines with no code of ours. Not: how files are written (checkpoint/).
"""

from __future__ import annotations

from .writer import FORMATS, export

__all__ = ["FORMATS", "export"]
