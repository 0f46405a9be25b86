"""Captions and boxes for whole collections of pictures: listing them, making their records, exporting the results.

Not: how a long job is cut and resumed (jobs), nor how a question is answered (pipeline).
"""

from __future__ import annotations

from .annotator import AnnotateSettings, Annotator
from .sources import list_images

__all__ = ["AnnotateSettings", "Annotator", "list_images"]
