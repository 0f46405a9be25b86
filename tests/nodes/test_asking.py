"""IAA Choose, IAA Label Everything, IAA Caption Boxes, and Ground's check, on a running ComfyUI."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comfyui_server import Client, Graph, Run, environment, link_pack, node, python_of, running
from PIL import Image

from iaa_runtime import IAAPipeline
from iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene, make_scene

DEMO = "demo (coloured shapes)"
SCENE = {"seed": 7, "width": 320, "height": 240}


def asking(count: int = 1, **nodes: Any) -> Graph:
    """A graph of scenes, the demo model in 32 bit, and ``nodes``, of which those with ``image`` missing get it."""
    graph: Graph = {
        "scene": node("IAA_DemoScene", **SCENE, count=count),
        "loader": node("IAA_Loader", checkpoint=DEMO, precision="fp32"),
    }
    for name, made in nodes.items():
        inputs = {"model": ["loader", 0]} if made["class_type"].startswith("IAA_") else {}
        graph[name] = made | {"inputs": inputs | made["inputs"]}
    return graph


def scenes(count: int) -> list[Image.Image]:
    """The pictures of such a graph."""
    seeds = range(EVALUATION_SEED + SCENE["seed"], EVALUATION_SEED + SCENE["seed"] + count)
    return [draw_scene(make_scene(seed, long_side=SCENE["width"], aspect=4 / 3)) for seed in seeds]


def shown(*source: Any) -> dict[str, Any]:
    """A node that shows what comes."""
    return node("PreviewAny", source=list(source))


def test_choose_answers_for_each_image_and_tells_how_sure_it_is(client: Client) -> None:
    graph = asking(
        3,
        choose=node("IAA_Choose", image=["scene", 0], question="Is there a circle?", choices="no\nyes\n"),
        index=shown("choose", 1),
        probability=shown("choose", 2),
        yes=shown("choose", 3),
    )
    run = client.run(graph)
    assert run.status == "success", run.error
    here = IAAPipeline.from_pretrained(dtype="fp32").choose(scenes(3), "Is there a circle?", ["no", "yes"])
    assert run.outputs["choose"]["text"] == [choice.text for choice in here]
    assert run.outputs["index"]["text"] == [str(choice.index) for choice in here]
    assert run.outputs["yes"]["text"] == [str(choice.is_yes) for choice in here]
    told = [float(text) for text in run.outputs["probability"]["text"]]
    assert told == pytest.approx([choice.probability for choice in here], abs=1e-3)
    assert run.outputs["choose"]["iaa_texts"][0].startswith(here[0].text + "\nno: ")


def test_choose_needs_no_image(client: Client) -> None:
    question = "What is the opposite of left?"
    run = client.run(asking(choose=node("IAA_Choose", question=question, choices="up\nright")))
    assert run.outputs["choose"]["text"] == ["right"], run.error


@pytest.mark.parametrize(("choices", "skipped"), [("yes\nno", "off"), ("no\nnever", "on")])
def test_a_graph_branches_and_what_is_not_wanted_does_not_run(client: Client, choices: str, skipped: str) -> None:
    """``What is the opposite of left?`` is no question of yes and no, but of the first choice and the second."""
    client.free()
    words = {"yes\nno": "right\nup", "no\nnever": "up\nright"}[choices]
    graph = asking(
        choose=node("IAA_Choose", question="What is the opposite of left?", choices=words),
        on=node("ImageInvert", image=["scene", 0]),
        off=node("ImageScale", image=["scene", 0], upscale_method="area", width=32, height=32, crop="disabled"),
        switch=node("ComfySwitchNode", switch=["choose", 3], on_true=["on", 0], on_false=["off", 0]),
        seen=node("PreviewImage", images=["switch", 0]),
    )
    run = client.run(graph)
    assert run.status == "success", run.error
    assert {"on", "off"} - run.executed == {skipped}


def test_everything_is_labelled_as_the_pipeline_does(client: Client, trained_demo: None) -> None:
    graph = asking(2, label=node("IAA_LabelImage", image=["scene", 0], masks="one per phrase"), json=shown("label", 3))
    graph |= {"size": node("MaskToImage", mask=["label", 1]), "count": node("GetImageSize", image=["size", 0])}
    graph |= {"batch": shown("count", 2), "labels": shown("label", 5)}
    run = client.run(graph)
    assert run.status == "success", run.error
    (text,) = run.outputs["json"]["text"]
    here = IAAPipeline.from_pretrained(dtype="fp32").label(scenes(2))
    assert [[box["label"] for box in own] for own in json.loads(text)] == [[d.label for d in own] for own in here]
    named = [label for own in here for label in dict.fromkeys(d.label for d in own)]
    assert run.outputs["labels"]["text"] == named
    assert run.outputs["batch"]["text"] == [str(len(named))]


def test_boxes_are_labelled_with_what_they_show(client: Client) -> None:
    boxes = [
        {"x": 10, "y": 10, "width": 90, "height": 80, "label": "thing"},
        {"x": 900, "y": 0, "width": 9, "height": 9},
    ]
    told = node("IAA_CaptionBoxes", image=["scene", 0], bboxes={"__value__": boxes}, prompt="What is {index}, {label}?")
    run = client.run(asking(2, told=told, boxes=shown("told", 0), texts=shown("told", 1)))
    assert run.status == "success", run.error
    texts = run.outputs["texts"]["text"]
    assert len(texts) == 4 and texts[1] == texts[3] == "" != texts[0]
    assert texts[0] in run.outputs["boxes"]["text"][0]
    assert [box["label"] for box in run.outputs["told"]["iaa_boxes"][0]] == [texts[0]]


def test_no_boxes_are_no_texts(client: Client) -> None:
    told = node("IAA_CaptionBoxes", image=["scene", 0], bboxes={"__value__": []})
    run = client.run(asking(told=told, texts=shown("told", 1)))
    assert run.status == "success" and "texts" not in run.outputs, run.error


def listed_scenes() -> Graph:
    """Scene, nothing, scene: three pictures at ``listed``, a list."""
    blank = node("EmptyImage", width=SCENE["width"], height=SCENE["height"], batch_size=1, color=0x808080)
    return {
        "blank": blank,
        "two": node("ImageBatch", image1=["scene", 0], image2=["blank", 0]),
        "three": node("ImageBatch", image1=["two", 0], image2=["scene", 0]),
        "listed": node("RebatchImages", images=["three", 0], batch_size=1),
    }


def run_cropping(client: Client, graph: Graph) -> Run:
    """Runs a graph over these scenes; its node ``crops`` is the one of ours that has no model."""
    graph["crops"]["inputs"].pop("model", None)
    run = client.run(graph | listed_scenes())
    assert run.status == "success", run.error
    return run


def test_labels_and_texts_of_a_list_go_with_its_crops_whatever_is_empty(client: Client, trained_demo: None) -> None:
    """A label for each crop, though nothing is found in the second picture of the list."""
    graph = asking(
        ground=node("IAA_Ground", image=["listed", 0], phrases="the orange circle\nthe cyan ring"),
        crops=node("IAA_CropBoxes", image=["listed", 0], bboxes=["ground", 0]),
        told=node("IAA_CaptionBoxes", image=["listed", 0], bboxes=["ground", 0], max_new_tokens=3),
        number=shown("ground", 4),
        labels=shown("ground", 5),
        texts=shown("told", 1),
        size=node("GetImageSize", image=["crops", 0]),
        widths=shown("size", 0),
    )
    run = run_cropping(client, graph)
    assert run.outputs["number"]["text"] == ["2", "0", "2"]
    assert run.outputs["labels"]["text"] == ["the orange circle", "the cyan ring"] * 2
    assert len(run.outputs["widths"]["text"]) == len(run.outputs["texts"]["text"]) == 4


@pytest.mark.parametrize("nothing_found", ["skip", "whole image"])
def test_each_crop_has_its_label(client: Client, trained_demo: None, nothing_found: str) -> None:
    """Those of Ground have no place for the crop of a picture in which nothing is found."""
    graph = asking(
        ground=node("IAA_Ground", image=["three", 0], phrases="the orange circle\nthe cyan ring"),
        crops=node("IAA_CropBoxes", image=["three", 0], bboxes=["ground", 0], nothing_found=nothing_found),
        labels=shown("crops", 4),
        size=node("GetImageSize", image=["crops", 0]),
        widths=shown("size", 0),
    )
    run = run_cropping(client, graph)
    found, whole = ["the orange circle", "the cyan ring"], [""] * (nothing_found == "whole image")
    assert run.outputs["labels"]["text"] == [*found, *whole, *found]
    widths = dict(zip(map(str, run.outputs["widths"]["text"]), run.outputs["labels"]["text"], strict=True))
    assert not whole or widths[str(SCENE["width"])] == ""
    graph["ground"]["inputs"]["image"] = graph["crops"]["inputs"]["image"] = ["blank", 0]
    run = run_cropping(client, graph)
    assert run.outputs.get("labels", {"text": []})["text"] == whole, "without crops nothing runs for their labels"


def test_one_of_several_texts_may_be_blank(client: Client, trained_demo: None) -> None:
    """A picture of whose caption nothing is left does not lose what is found in the others."""
    texts = ["the orange circle", " ", "the cyan ring"]
    said = {f"say{n}": node("PrimitiveStringMultiline", value=text) for n, text in enumerate(texts)}
    said["said"] = node("CreateList", **{f"inputs.input{n}": [f"say{n}", 0] for n in range(3)})
    graph = asking(ground=node("IAA_Ground", image=["listed", 0], phrases=["said", 0]), labels=shown("ground", 5))
    run = client.run(graph | said | listed_scenes())
    assert run.status == "success", run.error
    assert run.outputs["labels"]["text"] == ["the orange circle", "the cyan ring"]
    for n in range(3):
        said[f"say{n}"]["inputs"]["value"] = "\n"
    assert "'phrases' is empty" in client.run(graph | said | listed_scenes()).error


def test_labels_of_a_list_of_thresholds_leave_no_gap(client: Client, trained_demo: None) -> None:
    """Above the first nothing is found; labels of what is found above the second go with a list from its start."""
    numbers = {f"say{n}": node("PrimitiveStringMultiline", value=str(n)) for n in (1, 2)}
    phrases = "the orange circle\nthe cyan ring"
    graph = asking(
        ground=node("IAA_Ground", image=["scene", 0], phrases=phrases, threshold=["least", 0]),
        least=node("CreateList", **{"inputs.input0": ["all", 0], "inputs.input1": ["none", 0]}),
        all=node("PrimitiveFloat", value=1.0),
        none=node("PrimitiveFloat", value=0.0),
        numbers=node("CreateList", **{f"inputs.input{n - 1}": [f"say{n}", 0] for n in (1, 2)}),
        both=node("StringConcatenate", string_a=["ground", 5], string_b=["numbers", 0], delimiter=" "),
        labels=shown("both", 0),
        counts=shown("ground", 4),
    )
    run = client.run(graph | numbers)
    assert run.status == "success", run.error
    assert run.outputs["counts"]["text"] == ["0", "2"]
    assert run.outputs["labels"]["text"] == ["the orange circle 1", "the cyan ring 2"]


def test_turns_of_a_list_with_boxes_and_without(client: Client, trained_demo: None) -> None:
    graph = asking(chat=node("IAA_Chat", message="the orange circle", task="G", image=["listed", 0]))
    for pictures in (["listed", 0], ["turned", 0]):
        graph["chat"]["inputs"]["image"] = pictures
        graph["turned"] = node("CreateList", **{"inputs.input0": ["blank", 0], "inputs.input1": ["scene", 0]})
        run = client.run(graph | listed_scenes())
        assert run.status == "success", run.error
        shown = run.outputs["chat"]
        assert len(shown["iaa_texts"]) == len(shown["iaa_note"]) >= 2
        assert len(shown["iaa_boxes"]) == len(shown["images"]) >= 1
    run = client.run(asking(chat=node("IAA_Chat", message="How many shapes are there?", image=["scene", 0])))
    assert run.outputs["chat"]["iaa_images"] == run.outputs["chat"]["images"] == []


def test_masks_of_phrases_are_one_at_least(client: Client, trained_demo: None) -> None:
    label = node("IAA_LabelImage", image=["blank", 0], masks="one per phrase", prompt="What is the opposite of left?")
    graph = asking(label=label, number=shown("label", 4), grown=node("GrowMask", mask=["label", 1], expand=2))
    graph |= {"image": node("MaskToImage", mask=["grown", 0]), "size": node("GetImageSize", image=["image", 0])}
    graph["grown"]["inputs"]["tapered_corners"] = True
    run = client.run(graph | listed_scenes() | {"batch": shown("size", 2)})
    assert run.status == "success", run.error
    assert (run.outputs["number"]["text"], run.outputs["batch"]["text"]) == (["0"], ["1"])


def test_a_check_lowers_scores(client: Client) -> None:
    def scores(check: str) -> list[float]:
        asks = node("IAA_Ground", image=["scene", 0], phrases="the circle\nthe dog", threshold=0.0, check=check)
        run = client.run(asking(ground=asks, json=shown("ground", 3)))
        assert run.status == "success", run.error
        (found,) = json.loads(run.outputs["json"]["text"][0])
        return [box["score"] for box in found]

    plain, checked = scores("off"), scores("ask")
    assert len(plain) == len(checked) > 0
    assert all(after < before for before, after in zip(plain, checked, strict=True))


COUNT = {"type": "integer", "minimum": 0, "maximum": 9}  # without a minimum an answer may be digits without end
SCHEMA = {"type": "object", "properties": {"count": COUNT}, "required": ["count"]}


def imports_llguidance(comfyui: Path, python_path: str = "") -> bool:
    """Whether ComfyUI's Python does, with a folder more on its path."""
    variables = environment() | ({"PYTHONPATH": python_path} if python_path else {})
    command = [python_of(comfyui), "-c", "import llguidance"]
    return subprocess.run(command, capture_output=True, env=variables).returncode == 0


@pytest.fixture(scope="module")
def holding_client(comfyui: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Talks to a ComfyUI whose Python finds the tests' llguidance: what ``pip install llguidance`` would put there."""
    llguidance = pytest.importorskip("llguidance", reason="NO LLGUIDANCE: no node holds answers to a format.")
    base, packages = tmp_path_factory.mktemp("holding"), tmp_path_factory.mktemp("packages")
    for part in Path(llguidance.__file__).parents[1].glob("llguidance*"):  # the package, and what is noted of it
        (packages / part.name).symlink_to(part)
    if not imports_llguidance(comfyui, str(packages)):
        pytest.skip("NOT TESTED: ComfyUI's Python cannot import the tests' llguidance, so no node holds answers to it.")
    link_pack(project, base)
    with running(comfyui, base, python_path=str(packages)) as started:
        yield started.client


def test_answers_are_held_to_a_format(holding_client: Client) -> None:
    asks = {
        "held": node("IAA_Caption", image=["scene", 0], prompt="How many?", format=json.dumps(SCHEMA)),
        "text": node("IAA_Text", prompt="What is the opposite of left?", format="(Right|Up)!"),
        "said": node("IAA_Chat", message="Which is it?", format="(this|that)"),
    }
    run = holding_client.run(asking(2, **asks))
    assert run.status == "success", run.error
    assert [list(json.loads(text)) for text in run.outputs["held"]["text"]] == [["count"]] * 2
    assert run.outputs["text"]["text"][0] in ("Right!", "Up!")
    assert run.outputs["said"]["text"][0] in ("this", "that")


def test_a_format_that_is_none_is_refused(holding_client: Client) -> None:
    asks = {"text": node("IAA_Text", prompt="Hi", format="(a")}
    assert "Answers cannot be held to this format" in (holding_client.run(asking(1, **asks)).error or "")


def test_without_its_library_a_format_is_refused(client: Client, comfyui: Path) -> None:
    if imports_llguidance(comfyui):
        pytest.skip("NOT TESTED: ComfyUI's own Python has llguidance, so what nodes say without it is not seen.")
    for kind, inputs in (
        ("IAA_Caption", {"image": ["scene", 0]}),
        ("IAA_Text", {"prompt": "Hi"}),
        ("IAA_Chat", {"message": "Hi"}),
    ):
        run = client.run(asking(1, asked=node(kind, **inputs, format=json.dumps(SCHEMA))))
        assert "python -m pip install llguidance" in (run.error or ""), kind
