"""Captions and boxes for whole collections of pictures, in shards that survive a kill."""

from __future__ import annotations

from .annotator import AnnotateSettings, Annotator
from .sources import list_images

__all__ = ["AnnotateSettings", "Annotator", "list_images"]
