"""On a GPU, shown without one: what ComfyUI places and streams meets on its device, and gives all of it back."""

from __future__ import annotations

from pathlib import Path

import pytest
from comfyui_server import run_inside
from make_checkpoint import Geometry, make_checkpoint

GEOMETRIES = {"tiny": Geometry(), "matrices in tiles": Geometry(hidden_size=128, intermediate_size=256)}


@pytest.mark.parametrize("geometry", ["tiny", pytest.param("matrices in tiles", marks=pytest.mark.slow)])
def test_streamed_weights_meet_on_the_device_and_nothing_is_left_there(
    geometry: str, comfyui: Path, tmp_path: Path
) -> None:
    make_checkpoint(tmp_path / "tiny", GEOMETRIES[geometry])
    report = run_inside(comfyui, Path(__file__).parent / "inside" / "on_cuda.py", str(tmp_path))
    whole = report.pop("bf16, all of it")
    assert 0.99 * whole["all"] < whole["used"] <= whole["all"], "after an answer, weights alone are there"
    assert whole["left"] == 0
    for form, seen in report.items():
        assert 0 < seen["used"] <= seen["all"] / 2, form
        assert seen["left"] == 0, form
