"""Exports a task as a checkpoint of stock classes: each workflow is an ordinary LLaVA or Llama, its blocks in a row.

The folder loads in transformers, vLLM and other engines with no code of ours. Not: how files are written (checkpoint/).
"""

from __future__ import annotations

from .writer import FORMATS, export

__all__ = ["FORMATS", "export"]
