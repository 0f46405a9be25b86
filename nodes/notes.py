"""Remarks on a result that are no part of it: the ``ui`` entry ``iaa_note``, for browsers and programs alike."""

from __future__ import annotations

from ..iaa_runtime.pipeline.base import Pipeline

DEMO_NOTE = (
    "The demo model answered: it knows only coloured shapes. Choose the published model in IAA Loader for photographs."
)


def notes_ui(pipeline: Pipeline) -> dict[str, list[str]]:
    """One line where the built-in demo model answers, which talks fluent nonsense about photographs; else none."""
    return {"iaa_note": [DEMO_NOTE] if pipeline.is_demo else []}
