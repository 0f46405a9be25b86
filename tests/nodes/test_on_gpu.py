"""A real ComfyUI on a real GPU, with dynamic VRAM management and without (``pytest -m gpu``)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comfyui_server import Server, link_pack, node, run_inside, running

from iaa_runtime.bench.checkpoints import SIZES, write_checkpoint
from iaa_runtime.boxes.geometry import iou
from iaa_runtime.model.linear.kinds import PRECISIONS
from iaa_runtime.shapes.evaluate import make_exam
from iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene

pytestmark = pytest.mark.gpu
PROJECT = Path(__file__).parents[2]
WEIGHTS = ("as stored", *PRECISIONS)
MODES = {
    "dynamic": ((), "DynamicVRAM support detected and enabled"),
    "classic": (("--disable-dynamic-vram",), "cuda"),
}
MEGABYTE = 1024**2
DEMO = "demo (coloured shapes)"


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint ``wide`` whose matrices are of the published sizes."""
    folder = tmp_path_factory.mktemp("wide")
    import torch

    write_checkpoint(folder / "wide", SIZES["wide"], torch.bfloat16)
    return folder


@pytest.fixture(scope="module", params=MODES)
def server(
    request: pytest.FixtureRequest, comfyui: Path, wide: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A ComfyUI on the GPU."""
    arguments, sign = MODES[request.param]
    base = tmp_path_factory.mktemp(request.param)
    link_pack(PROJECT, base)
    paths = base / "extra_model_paths.yaml"
    paths.write_text(f"shared:\n  base_path: {wide}\n  iaa: .\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMFYUI_GPU", "1")
        with running(comfyui, base, "--extra-model-paths-config", str(paths), *arguments) as started:
            assert sign in started.log
            yield started


def ask(checkpoint: str, weights: str, picture: str, phrase: str, new_tokens: int = 256) -> dict[str, Any]:
    """A phrase, found in a picture, and the picture described."""
    picture_and_model = {"model": ["loader", 0], "image": ["picture", 0]}
    return {
        "picture": node("LoadImage", image=picture),
        "loader": node("IAA_Loader", checkpoint=checkpoint, weights=weights),
        "caption": node("IAA_Caption", **picture_and_model, max_new_tokens=24),
        "ground": node("IAA_Ground", **picture_and_model, phrases=phrase, max_new_tokens=new_tokens),
    }


def corners(box: dict[str, float]) -> tuple[float, ...]:
    """Left, top, right and bottom."""
    return box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]


def vram_free(server: Server) -> int:
    """Bytes of the card that nobody has."""
    return int(server.client.get_json("/system_stats")["devices"][0]["vram_free"])


@pytest.mark.parametrize("weights", WEIGHTS)
def test_boxes_are_right(server: Server, weights: str) -> None:
    for number in range(3):
        exam = make_exam(EVALUATION_SEED + number)
        picture = server.client.upload(f"{number}.png", draw_scene(exam.scene))
        run = server.client.run(ask(DEMO, weights, picture, exam.phrases[0].phrase))
        assert run.error == ""
        (box,) = run.outputs["ground"]["iaa_boxes"][0]
        (target,) = exam.phrases[0].targets
        assert iou(corners(box), exam.scene.shapes[target].box) > 0.6


@pytest.mark.parametrize("weights", WEIGHTS)
def test_free_gives_the_card_back(server: Server, weights: str) -> None:
    picture = server.client.upload("scene.png", draw_scene(make_exam(EVALUATION_SEED).scene))
    server.client.run(ask(DEMO, "as stored", picture, "the star"))
    server.client.free()
    before = vram_free(server)
    run = server.client.run(ask("wide", weights, picture, "the star", 24))
    assert run.error == ""
    taken = before - vram_free(server)
    assert taken > 400 * MEGABYTE
    again = server.client.run(ask("wide", weights, picture, "the star", 25))
    assert again.error == ""
    server.client.free()
    left = before - vram_free(server)
    assert left < 100 * MEGABYTE, f"{left / MEGABYTE:.0f} of {taken / MEGABYTE:.0f} MB are still taken"


def test_what_is_reported_is_what_is_taken(comfyui: Path, wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYUI_GPU", "1")
    inside = Path(__file__).parent / "inside" / "memory_on_gpu.py"
    for weights, seen in run_inside(comfyui, inside, str(wide), "wide").items():
        assert abs(seen["weights taken"] / seen["weights reported"] - 1) < 0.1, (weights, seen)
        assert seen["peak"] < 1.1 * (seen["weights reported"] + seen["work reported"]), (weights, seen)
        assert seen["left"] < 20 * MEGABYTE, (weights, seen)
        assert seen["same after unloading"], weights
