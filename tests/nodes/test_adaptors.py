"""IAA Load Adaptor in a real ComfyUI: every precision, branches that share a model, and files that change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from comfyui_server import Client, Graph, PromptError, Server, node
from make_adaptor import random_adaptor, write_random

from iaa_runtime import IAAPipeline
from iaa_runtime.boxes.geometry import iou
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.model.linear.kinds import PRECISIONS
from iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene, make_scene

DEMO, TINY, OPENED = "demo (coloured shapes)", "sub/tiny", "IAA: opened"
SCENE = 34
"""One whose box the adaptor moves, and rounding alone does not: of all boxes, int4 moves one in four by a tenth."""
FORMS: list[dict[str, Any]] = [
    *({"precision": dtype} for dtype in ("fp32", "bf16", "fp16")),
    *({"weights": weights} for weights in PRECISIONS),
]


def graph(
    checkpoint: str = DEMO, adaptor: str = "sub/demo-G.safetensors", strength: float = 1.0, **loader: Any
) -> Graph:
    """Boxes of one picture with an adaptor, and without."""
    asked = {"image": ["scene", 0], "phrases": "the leftmost shape", "threshold": 0.0}
    return {
        "scene": node("IAA_DemoScene", seed=SCENE, width=96, height=96),
        "loader": node("IAA_Loader", checkpoint=checkpoint, **loader),
        "adaptor": node("IAA_LoadAdaptor", model=["loader", 0], adaptor=adaptor, strength=strength),
        "with": node("IAA_Ground", model=["adaptor", 0], **asked),
        "without": node("IAA_Ground", model=["loader", 0], **asked),
    }


def found(run: Any, name: str) -> list[dict[str, Any]]:
    assert run.error == ""
    boxes: list[dict[str, Any]] = run.outputs[name]["iaa_boxes"][0]
    return boxes


def corners(box: dict[str, Any]) -> tuple[float, float, float, float]:
    return box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]


@pytest.mark.parametrize("loader", FORMS, ids=lambda loader: " ".join(loader.values()))
def test_the_same_boxes_in_every_form_and_with_dynamic_vram_management(
    client: Client, dynamic_client: Client, loader: dict[str, str]
) -> None:
    chosen = random_adaptor(DEMO_CHECKPOINT, "G", size=0.3)
    exact = IAAPipeline.from_pretrained(dtype="fp32").adapted(chosen)
    picture = draw_scene(make_scene(EVALUATION_SEED + SCENE, long_side=96, aspect=1))
    expected = exact.ground(picture, ["the leftmost shape"], threshold=0.0)[0]
    runs = [there.run(graph(**loader)) for there in (client, dynamic_client)]
    assert found(runs[0], "with") == found(runs[1], "with") and found(runs[0], "without") == found(runs[1], "without")
    assert found(runs[0], "with") != found(runs[0], "without")
    for box, detection in zip(found(runs[0], "with"), expected, strict=True):
        assert iou(corners(box), detection.xyxy) >= 0.9


def test_branches_share_one_model_and_what_is_off_is_as_before(client: Client, server: Server) -> None:
    client.free()
    before = client.run({name: n for name, n in graph(TINY).items() if name not in ("adaptor", "with")})
    client.free()
    opened = server.log.count(OPENED)
    words = {"prompt": "Hello", "max_new_tokens": 6}
    both = graph(TINY, "sub/tiny-G.safetensors") | {
        "half": node("IAA_LoadAdaptor", model=["loader", 0], adaptor="sub/tiny-G.safetensors", strength=-0.5),
        "again": node("IAA_LoadAdaptor", model=["half", 0], adaptor="sub/tiny-G.safetensors", strength=1.5),
        "off": node("IAA_LoadAdaptor", model=["loader", 0], adaptor="sub/tiny-G.safetensors", strength=0.0),
        "text": node("IAA_Text", model=["loader", 0], **words),
        "text too": node("IAA_Text", model=["adaptor", 0], **words),
        "mm": node("IAA_LoadAdaptor", model=["adaptor", 0], adaptor="sub/tiny-MM.safetensors"),
        "caption": node("IAA_Caption", model=["mm", 0], image=["scene", 0], max_new_tokens=6),
        "plain caption": node("IAA_Caption", model=["adaptor", 0], image=["scene", 0], max_new_tokens=6),
    }
    for name in ("half", "again", "off"):
        both[f"with {name}"] = both["with"] | {"inputs": both["with"]["inputs"] | {"model": [name, 0]}}
    run = client.run(both)
    assert server.log.count(OPENED) == opened + 1
    plain = found(before, "without")
    assert found(run, "without") == found(run, "with off") == plain
    assert found(run, "with") != plain and found(run, "with half") not in (plain, found(run, "with"))
    assert list(map(corners, found(run, "with again"))) == list(map(corners, found(run, "with")))
    assert run.outputs["text"]["text"] == run.outputs["text too"]["text"]
    assert run.outputs["caption"]["text"] != run.outputs["plain caption"]["text"]


def test_a_run_after_free_gives_the_same_answer(client: Client) -> None:
    first = client.run(graph())
    client.free()
    second = client.run(graph())
    assert {"adaptor", "with"} <= second.executed and found(second, "with") == found(first, "with")


def test_a_file_that_changes_is_read_anew(client: Client, server: Server) -> None:
    file = server.base / "models" / "iaa_adaptors" / "mine.safetensors"
    write_random(file, DEMO_CHECKPOINT, "G")
    options = client.get_json("/object_info/IAA_LoadAdaptor")["IAA_LoadAdaptor"]["input"]["required"]["adaptor"][1]
    assert {"mine.safetensors", "sub/demo-G.safetensors"} <= set(options["options"])
    first = client.run(graph(adaptor="mine.safetensors"))
    assert "adaptor" in client.run(graph(adaptor="mine.safetensors")).cached
    write_random(file, DEMO_CHECKPOINT, "G", seed=4)
    os.utime(file, ns=(1, 1))
    second = client.run(graph(adaptor="mine.safetensors"))
    assert "adaptor" in second.executed and found(second, "with") != found(first, "with")
    file.unlink()


def test_what_is_refused(client: Client, server: Server) -> None:
    base = random_adaptor(DEMO_CHECKPOINT, "G").base
    error = client.run(graph(TINY)).error
    assert "taught on another model" in error and base in error
    secret = server.base / "secret.safetensors"
    write_random(secret, DEMO_CHECKPOINT, "G")
    for name in ("none.safetensors", str(secret), "../../secret.safetensors", "../iaa_adaptors/sub/demo-G.safetensors"):
        with pytest.raises(PromptError) as refused:
            client.run(graph(adaptor=name))
        assert "There is no adaptor" in str(refused.value) and "iaa_adaptors" in str(refused.value)
    linked = graph() | {"name": node("PrimitiveString", value=str(secret))}
    linked["adaptor"]["inputs"]["adaptor"] = {"__value__": [str(secret)]}
    with pytest.raises(PromptError):
        client.run(linked)
    remote = graph() | {"loader": node("IAA_RemoteLoader", servers="http://127.0.0.1:9")}
    del remote["without"]
    assert "'model' is answered by servers" in client.run(remote).error


def test_a_broken_file_is_one_sentence(client: Client, server: Server) -> None:
    file = server.base / "models" / "iaa_adaptors" / "broken.safetensors"
    write_random(file, DEMO_CHECKPOINT, "G")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    error = client.run(graph(adaptor="broken.safetensors")).error
    assert "cannot be read as safetensors" in error
    Path(file).unlink()
