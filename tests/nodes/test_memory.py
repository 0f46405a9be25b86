"""Memory is ComfyUI's: models come, go and come back, and answers stay the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from comfyui_server import Client, Graph, Server, node, run_inside

from iaa_runtime.model.linear.kinds import PRECISIONS

TINY = "sub/tiny"
OPENED = "IAA: opened"
MEGABYTE = 1024**2
LOADERS = [
    *({"precision": dtype} for dtype in ("fp32", "bf16", "fp16")),
    *({"weights": weights} for weights in PRECISIONS),
    *({"checkpoint": f"tiny-{weights} ({weights})"} for weights in PRECISIONS),
]
"""Inputs of the Loader: every dtype, every precision, rounded when opened and before."""
Record = Callable[[str, object], None]


def talk(checkpoint: str, **loader: Any) -> Graph:
    """All three tasks on one picture."""
    return {
        "scene": node("IAA_DemoScene", seed=3, width=96, height=96),
        "loader": node("IAA_Loader", checkpoint=checkpoint, **loader),
        "caption": node("IAA_Caption", model=["loader", 0], image=["scene", 0], max_new_tokens=6),
        "ground": node("IAA_Ground", model=["loader", 0], image=["scene", 0], phrases="the star"),
        "text": node("IAA_Text", model=["loader", 0], prompt="Hello", max_new_tokens=6),
    }


def answers(outputs: dict[str, Any]) -> Any:
    """What was said and found, without the names of preview files."""
    return outputs["caption"]["text"], outputs["ground"]["iaa_boxes"], outputs["text"]["text"]


def test_weights_are_owned_by_patchers_and_survive_eviction(comfyui: Path, shared_models: Path) -> None:
    report = run_inside(comfyui, Path(__file__).parent / "inside" / "patchers.py", str(shared_models / "iaa" / "sub"))
    assert report.pop("before first use") == 0, "opening reads no weights"
    assert report.pop("patchers") == report.pop("loaded") == 5
    assert report.pop("classes") == [report.pop("wanted class")]
    assert report.pop("weights") > 100
    assert report.pop("weights outside patchers") == report.pop("modules outside patchers") == 0
    assert report.pop("loaded before another model needs room") == 5
    assert report.pop("loaded after unload_all_models") == 0
    assert report.pop("loaded after another model needed room") == 0
    assert report and all(value is True for value in report.values()), report


def test_a_run_after_free_gives_the_same_answer(client: Client, server: Server) -> None:
    graph = talk(TINY)
    first = client.run(graph)
    client.free()
    opened = server.log.count(OPENED)
    second = client.run(graph)
    assert {"loader", "caption", "ground", "text"} <= second.executed
    assert server.log.count(OPENED) == opened + 1
    assert answers(second.outputs) == answers(first.outputs)


def test_two_loaders_of_the_same_checkpoint_share_one_model(client: Client, server: Server) -> None:
    client.free()
    opened = server.log.count(OPENED)
    # Equal nodes share one result anyway; these differ.
    graph = talk(TINY) | {"second": node("IAA_Loader", checkpoint=TINY, download=True)}
    graph["text"]["inputs"]["model"] = ["second", 0]
    run = client.run(graph)
    assert {"loader", "second"} <= run.executed
    assert server.log.count(OPENED) == opened + 1


def test_workflows_in_alternation_load_once_when_kept(client: Client, server: Server) -> None:
    client.free()
    opened = server.log.count(OPENED)
    ours = talk(TINY, keep_loaded=True)
    other = {
        "scene": node("IAA_DemoScene", seed=9, width=64, height=64),
        "show": node("PreviewImage", images=["scene", 0]),
    }
    for turn in range(3):
        ours["text"]["inputs"]["prompt"] = f"Hello {turn}"
        assert client.run(ours).status == "success"
        assert client.run(other).status == "success"
    assert server.log.count(OPENED) == opened + 1
    client.run(talk(TINY, keep_loaded=False))  # switches it off again


def test_of_a_checkpoint_one_model_is_kept_as_the_last_loader_says(client: Client, server: Server) -> None:
    def opens(**loader: Any) -> bool:
        client.free()  # ComfyUI forgets all that nobody keeps
        opened = server.log.count(OPENED)
        run = client.run(talk(TINY, **loader))
        assert run.status == "success", run.error
        return server.log.count(OPENED) > opened

    assert opens(weights="int8", keep_loaded=True)
    assert opens(weights="int4", keep_loaded=True)
    assert not opens(weights="int4", keep_loaded=True), "this one is kept"
    assert opens(weights="int8", keep_loaded=True), "and it alone"
    opens(weights="int4", keep_loaded=False)
    assert opens(weights="int8", keep_loaded=False), "nothing of this checkpoint is kept once a Loader says so"


@pytest.mark.parametrize("weights", PRECISIONS)
def test_weights_of_few_bits_are_the_same_however_they_came(client: Client, server: Server, weights: str) -> None:
    """Rounded when opened, named as in earlier versions, or converted before, which the Loader says with the name.

    Of a workflow of an earlier version the browser says the new input's default as well.
    """
    converted = f"tiny-{weights} ({weights})"
    inputs = client.get_json("/object_info/IAA_Loader")["IAA_Loader"]["input"]
    assert converted in inputs["required"]["checkpoint"][1]["options"]
    graphs = [
        talk(TINY, weights=weights),
        talk(TINY, precision=weights),
        talk(TINY, precision=weights, weights="as stored"),
        talk(converted),
        talk(converted, weights=weights),
    ]
    before, runs = server.log.count(OPENED), [client.run(graph) for graph in graphs]
    assert [run.error for run in runs] == [""] * len(graphs)
    assert all(answers(run.outputs) == answers(runs[0].outputs) for run in runs)
    assert server.log.count(OPENED) <= before + len(graphs) - 1
    refused = client.run(talk(converted, weights="int8" if weights != "int8" else "int4"))
    assert f"converted to {weights}" in refused.error


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_another_dtype_is_another_model(client: Client, precision: str) -> None:
    run = client.run(talk(TINY, precision=precision))
    assert run.status == "success", run.error


@pytest.mark.parametrize("precision", ["fp8", "int8"])
def test_comfyui_reads_converted_layers(comfyui: Path, shared_models: Path, precision: str) -> None:
    """ComfyUI's own quantized Linear makes the same product of a layer's tensors and note as ours."""
    file = shared_models / "iaa" / f"tiny-{precision}" / "base.safetensors"
    report = run_inside(comfyui, Path(__file__).parent / "inside" / "quantized_layer.py", str(file))
    assert report["format"] == {"fp8": "float8_e4m3fn", "int8": "int8_tensorwise"}[precision]
    assert report["error"] < 0.04  # it rounds what comes in as well


def test_every_precision_is_placed_counted_and_streamed(comfyui: Path, shared_models: Path) -> None:
    """Weights of 8 and 4 bits as buffers were placed nowhere, and copied whole at each call."""
    report = run_inside(comfyui, Path(__file__).parent / "inside" / "placement.py", str(shared_models / "iaa" / "sub"))
    for precision, seen in report.items():
        assert seen["counted"] == seen["size"], precision
        # ComfyUI keeps some of the room free for what it streams: the largest layers, twice.
        assert seen["size"] // 2 - 4 * seen["largest"] < seen["half placed"] <= seen["size"] // 2, precision
        assert seen["half reported"] == seen["half placed"], precision
        assert 0 < seen["half copied"] < seen["run"], f"{precision}: what is not placed is fetched when it is needed"
        assert seen["whole placed"] == seen["whole reported"] == seen["size"], precision
        assert seen["whole copied"] == 0, f"{precision}: what is placed is not copied again"
    assert report["int4"]["size"] < report["int8"]["size"] < report["bf16"]["size"] < report["fp32"]["size"]


def test_weights_that_are_packed_on_the_way_change_no_answer(comfyui: Path, shared_models: Path) -> None:
    report = run_inside(comfyui, Path(__file__).parent / "inside" / "packing.py", str(shared_models / "iaa" / "sub"))
    if not report["able"]:
        pytest.skip("this processor is without VNNI")
    assert not report["packed at first"] and report["packed later"] and not report["packed anew"]
    assert report["first"] == report["later"] == report["back"] == report["anew"]


@pytest.mark.parametrize("loader", LOADERS, ids=lambda loader: " ".join(loader.values()))
def test_dynamic_vram_management_changes_no_answer(
    client: Client, dynamic_client: Client, loader: dict[str, str]
) -> None:
    graph = talk(**{"checkpoint": TINY} | loader)
    runs = [there.run(graph) for there in (client, dynamic_client)]
    assert [run.error for run in runs] == ["", ""]
    assert answers(runs[0].outputs) == answers(runs[1].outputs)


def test_dynamic_vram_management_changes_no_choice_label_or_check(client: Client, dynamic_client: Client) -> None:
    asks = {"model": ["loader", 0], "image": ["scene", 0]}
    box = [{"x": 3, "y": 4, "width": 30, "height": 20}]
    graph = {
        "loader": node("IAA_Loader", checkpoint="demo (coloured shapes)", weights="int8"),
        "scene": node("IAA_DemoScene", seed=1, width=96, height=64, count=2),
        "choose": node("IAA_Choose", **asks, question="Is there a star?", choices="yes\nno"),
        "label": node("IAA_LabelImage", **asks, check="ask", threshold=0.0),
        "boxes": node("IAA_CaptionBoxes", **asks, bboxes={"__value__": box}, max_new_tokens=8),
        "json": node("PreviewAny", source=["label", 3]),
        "chance": node("PreviewAny", source=["choose", 2]),
    }
    runs = [there.run(graph) for there in (client, dynamic_client)]
    assert [run.error for run in runs] == ["", ""]
    for name in ("choose", "json", "boxes", "chance"):
        assert runs[0].outputs[name]["text"] == runs[1].outputs[name]["text"] != []


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux tells it")
class TestMegabytes:
    def test_free_gives_the_memory_back(
        self, client: Client, server: Server, gigabyte: str, record_testsuite_property: Record
    ) -> None:
        client.run(talk(TINY))  # whatever a first run leaves behind in torch
        client.free()
        before = server.memory()
        graph = talk(gigabyte, precision="fp32")
        graph["ground"]["inputs"]["max_new_tokens"] = 24
        run = client.run(graph)
        assert run.status == "success", run.error
        loaded = server.memory()
        assert loaded > before + 900 * MEGABYTE, "all banks were in memory"
        client.free()
        after = server.memory()
        record_testsuite_property("megabytes before, loaded, after", [n // MEGABYTE for n in (before, loaded, after)])
        assert after < before * 1.1
        assert answers(client.run(graph).outputs) == answers(run.outputs)
        client.free()

    def test_a_batch_of_40_takes_no_more_than_one_of_8(
        self, client: Client, server: Server, record_testsuite_property: Record
    ) -> None:
        def peak(count: int) -> tuple[int, Any]:
            graph = {
                "scene": node("IAA_DemoScene", seed=1, width=96, height=96, count=count),
                "loader": node("IAA_Loader", checkpoint=TINY),
                "ground": node("IAA_Ground", model=["loader", 0], image=["scene", 0], phrases="the star\nthe ring"),
            }
            server.forget_peak()
            run = client.run(graph)
            assert run.status == "success", run.error
            return server.memory(peak=True), run

        client.free()
        peak(8)
        small, _ = peak(9)  # other pictures than before, or remembered results would answer
        large, run = peak(40)
        lists = run.outputs["ground"]["iaa_boxes"]
        record_testsuite_property("megabytes for 9 and 40 images", [n // MEGABYTE for n in (small, large)])
        assert len(lists) == 40 and all(isinstance(boxes, list) for boxes in lists)
        assert len(run.outputs["ground"]["iaa_images"]) == 40
        # The batch itself, the drawn copy and the masks: 40 x 96 x 96 x 7 floats are 10 MB.
        assert large < small + 40 * MEGABYTE
