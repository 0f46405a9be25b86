"""The pipeline over OpenAI-compatible servers: exported tasks, served by vLLM or another engine.

Not: exporting a task (export), nor what the workflows are (pipeline).
"""

from __future__ import annotations

from .pipeline import RemotePipeline
from .retries import Retries
from .transport import Timeouts

__all__ = ["RemotePipeline", "Retries", "Timeouts"]
