"""Where the result of a command comes from, as a record."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from ..jobs.origin import describe
from ..pipeline.answerer import Answerer
from ..pipeline.local import IAAPipeline


def origin_of(
    options: argparse.Namespace, pipeline: Answerer, settings: Mapping[str, Any], count: int
) -> dict[str, Any]:
    """The record of a run that ends now: who answered, where, and what else decided ``count`` answers."""
    device = str(pipeline.model.device) if isinstance(pipeline, IAAPipeline) else ", ".join(options.server)
    return describe(pipeline.identity(), device, settings, count)
