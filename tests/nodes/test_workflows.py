"""Every workflow that we ship runs as it is, and what comes out is true of the picture."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from comfyui_server import PACK, Client, Graph, PromptError, Run, Server
from PIL import Image
from templates import API_NAMES, PICTURES_FOLDER, WORKFLOWS, briefly, fill_pictures_folder, template

from iaa_runtime.shapes.language import caption
from iaa_runtime.shapes.new_things import draw_with
from iaa_runtime.shapes.scenes import EVALUATION_SEED, Scene, draw_scene, make_scene
from iaa_runtime.text.prompts import asked_phrase

API = sorted((WORKFLOWS / "api").glob("*.json"))
TEMPLATES = sorted(WORKFLOWS.glob("*.json"))
NOT_HERE = {
    "ground_sam3_mask": {"CheckpointLoaderSimple": "sam3.1"},
    "ground_impact_detailer": {"CheckpointLoaderSimple": "v1-5", "DetailerForEach": "ComfyUI-Impact-Pack"},
}
"""Workflows that need other packs or models: which nodes do, and how the workflow's note calls what they need."""
TITLE_HEIGHT = 30
"""Of a node, above its place, in ComfyUI's units."""
COMPLETE = [path for path in API if path.stem not in NOT_HERE]


def graph_of(name: str) -> Graph:
    """An API workflow."""
    return dict(json.loads((WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8")))


def scenes_of(graph: Graph) -> list[Scene]:
    """The scenes that a workflow draws, with the place of every shape."""
    (inputs,) = [node["inputs"] for node in graph.values() if node["class_type"] == "IAA_DemoScene"]
    side, aspect = max(inputs["width"], inputs["height"]), inputs["width"] / inputs["height"]
    seeds = range(inputs["seed"], inputs["seed"] + inputs["count"])
    return [make_scene(EVALUATION_SEED + seed, long_side=side, aspect=aspect) for seed in seeds]


def box_of(scene: Scene, color: str, kind: str) -> tuple[float, float, float, float]:
    """Where the one shape of this color and kind is: x1, y1, x2, y2 in pixels."""
    (shape,) = [shape for shape in scene.shapes if (shape.color, shape.kind) == (color, kind)]
    return shape.box


def overlap(found: dict[str, Any], truth: tuple[float, float, float, float]) -> float:
    """Intersection over union of a box and a true box."""
    x1, y1, x2, y2 = found["x"], found["y"], found["x"] + found["width"], found["y"] + found["height"]
    width, height = min(x2, truth[2]) - max(x1, truth[0]), min(y2, truth[3]) - max(y1, truth[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / ((x2 - x1) * (y2 - y1) + (truth[2] - truth[0]) * (truth[3] - truth[1]) - shared)


def note_of(path: Path) -> str:
    """What a template's note says."""
    nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    (note,) = (node["widgets_values"][0] for node in nodes if node["type"] == "MarkdownNote")
    return str(note)


def run(client: Client, graph: Graph) -> Run:
    """Runs a workflow anew to its successful end."""
    client.free()
    done = client.run(graph)
    assert done.status == "success", done.error
    return done


def pixels(client: Client, shown: dict[str, str]) -> np.ndarray:
    """A saved picture."""
    return np.asarray(client.image(shown))


def without(graph: Graph, kinds: set[str]) -> Graph:
    """A graph without nodes of these kinds and without those that feed on them."""
    rest = {name: node for name, node in graph.items() if node["class_type"] not in kinds}
    while lost := {
        name
        for name, node in rest.items()
        for value in node["inputs"].values()
        if isinstance(value, list) and value[0] not in rest
    }:
        rest = {name: node for name, node in rest.items() if name not in lost}
    return rest


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_templates_are_where_the_template_browser_looks(path: Path, client: Client) -> None:
    """ComfyUI serves folders of several names under this address; a second one of ours would hide the templates."""
    assert path.stem in client.get_json("/workflow_templates")[PACK]
    for file in (path, path.with_suffix(".jpg")):
        assert client.get(f"/api/workflow_templates/{PACK}/{quote(file.name)}") == file.read_bytes()


@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.stem)
def test_every_workflow_runs(path: Path, client: Client) -> None:
    fill_pictures_folder(client)
    assert run(client, briefly(graph_of(path.stem))).outputs


def test_caption(client: Client, trained_demo: None) -> None:
    graph = graph_of("caption")
    (scene,) = scenes_of(graph)
    outputs = run(client, graph).outputs
    assert outputs["3"]["text"] == [caption(scene)]
    stars = sum(shape.kind == "star" for shape in scene.shapes)
    assert graph["4"]["inputs"]["prompt"] == "How many stars are there?"
    assert outputs["4"]["text"] == [str(stars)]


def truths_of(graph: Graph) -> dict[str, tuple[float, float, float, float]]:
    """Where what the phrases of a graph name truly is."""
    (scene,) = scenes_of(graph)
    phrases = graph["3"]["inputs"]["phrases"].splitlines()
    return {phrase: box_of(scene, *phrase.removeprefix("the ").split()) for phrase in phrases}


def test_ground(client: Client, trained_demo: None) -> None:
    graph = graph_of("ground")
    (scene,) = scenes_of(graph)
    truths = truths_of(graph)
    outputs = run(client, graph).outputs
    (found,), (marked,) = outputs["3"]["iaa_boxes"], outputs["4"]["images"]
    assert sorted(box["label"] for box in found) == sorted(truths)
    for box in found:
        assert overlap(box, truths[box["label"]]) > 0.5, f"{box} is not at {truths[box['label']]}"
    assert client.image(marked).size == (scene.width, scene.height)


def test_ground_mask_crop(client: Client, trained_demo: None) -> None:
    graph = graph_of("ground_mask_crop")
    truths = truths_of(graph)
    outputs = run(client, graph).outputs
    (found,) = outputs["3"]["iaa_boxes"]
    assert sorted(box["label"] for box in found) == sorted(truths)
    for box in found:
        assert overlap(box, truths[box["label"]]) > 0.5, f"{box} is not at {truths[box['label']]}"
    (crop,) = outputs["5"]["images"]
    assert client.image(crop).size == (512, 512)
    centres = [(round((y1 + y2) / 2), round((x1 + x2) / 2)) for x1, y1, x2, y2 in truths.values()]
    for own, cut_out in zip(range(len(truths)), outputs["9"]["images"], strict=True):
        opaque = pixels(client, cut_out)[..., 3] > 127
        for number, centre in enumerate(centres):
            assert opaque[centre] == (number == own), "a phrase's shape is cut out, and no other"
        assert opaque.mean() < 0.5, "nor what is around it"


def test_each_picture_of_a_batch_is_cut_out_by_its_own_masks(client: Client) -> None:
    """The first picture was cut by the second one's masks."""
    graph = graph_of("ground_mask_crop")
    graph["1"]["inputs"]["count"] = 2
    graph["3"]["inputs"]["phrases"] = "one\ntwo\nthree"  # whatever they are, each has a mask
    graph["scenes"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    outputs = run(client, graph).outputs
    scenes = [pixels(client, scene)[..., :3] for scene in outputs["scenes"]["images"]]
    cut_out = [pixels(client, picture)[..., :3] for picture in outputs["9"]["images"]]
    assert [np.array_equal(picture, scene) for scene in scenes for picture in cut_out] == [True] * 3 + [False] * 6 + [
        True
    ] * 3


def test_swapped_colors_would_be_noticed(client: Client, trained_demo: None) -> None:
    """The truth above is no matter of chance: with the phrases' boxes exchanged, it fails."""
    graph = graph_of("ground_mask_crop")
    (scene,) = scenes_of(graph)
    first, second = (
        box_of(scene, *phrase.removeprefix("the ").split()) for phrase in graph["3"]["inputs"]["phrases"].splitlines()
    )
    (found,) = client.run(graph).outputs["3"]["iaa_boxes"]
    exchanged = {box["label"]: truth for box, truth in zip(found, (second, first), strict=True)}
    assert all(overlap(box, exchanged[box["label"]]) < 0.2 for box in found)


def test_branch_on_choice(client: Client, trained_demo: None) -> None:
    """One picture goes each way: what the question is about is marked in the one, the other is inverted."""
    graph = graph_of("branch_on_choice")
    color, kind = graph["5"]["inputs"]["phrases"].removeprefix("the ").split()
    assert graph["4"]["inputs"]["question"] == f"Is there a {color} {kind}?"
    scenes = scenes_of(graph)
    there = [any((shape.color, shape.kind) == (color, kind) for shape in scene.shapes) for scene in scenes]
    assert sorted(there) == [False, True]
    shown = {"marked": ["5", 2], "inverted": ["6", 0]}
    previews = {name: {"class_type": "PreviewImage", "inputs": {"images": place}} for name, place in shown.items()}
    outputs = run(client, graph | previews).outputs
    assert outputs["4"]["text"] == ["yes" if yes else "no" for yes in there]
    for yes, taken, marked, inverted in zip(
        there, *(outputs[name]["images"] for name in ("8", "marked", "inverted")), strict=True
    ):
        same = [np.array_equal(pixels(client, taken), pixels(client, way)) for way in (marked, inverted)]
        assert same == [yes, not yes]
    (box,) = outputs["5"]["iaa_boxes"][there.index(True)]
    assert overlap(box, box_of(scenes[there.index(True)], color, kind)) > 0.5


def test_of_a_single_picture_the_way_not_taken_is_not_computed(client: Client, trained_demo: None) -> None:
    """Unless a node shows something itself, which ComfyUI runs in any case: the note says so."""
    graph = graph_of("branch_on_choice")
    graph["1"]["inputs"]["count"] = 1
    for seed, answer in ((102, "yes"), (103, "no")):
        graph["1"]["inputs"]["seed"] = seed
        done = run(client, graph)
        assert done.outputs["4"]["text"] == [answer]
        assert ("6" in done.executed) == (answer == "no") and "5" in done.executed
    assert "*IAA Ground*, run in any case" in note_of(template("branch_on_choice"))


def test_chat_across_tasks(client: Client, trained_demo: None) -> None:
    graph = graph_of("chat_across_tasks")
    (scene,) = scenes_of(graph)
    outputs = run(client, graph).outputs
    assert graph["3"]["inputs"]["message"] == "How many shapes are there?"
    assert outputs["3"]["text"] == [str(len(scene.shapes))]
    phrase = asked_phrase(graph["4"]["inputs"]["message"])
    ((box,),) = outputs["4"]["iaa_boxes"]
    assert box["label"] == phrase
    assert overlap(box, box_of(scene, *phrase.removeprefix("the ").split())) > 0.5
    assert graph["5"]["inputs"]["message"] == "What is the opposite of left?"
    assert outputs["5"]["text"] == ["right"]


@pytest.mark.slow
def test_teach_new_shape(client: Client, server: Server, trained_demo: None) -> None:
    """It learns in the run, and finds the thing where it was not found before, in a picture that it did not learn."""
    graph = graph_of("teach_new_shape")
    graph["4"]["inputs"]["name"] = "whole"  # the template's own is taken by the brief run of every workflow
    graph["before"] = copy.deepcopy(graph["3"])
    graph["before"]["inputs"]["model"] = graph["4"]["inputs"]["model"]
    outputs = run(client, graph).outputs
    asked, learned = graph["6"]["inputs"], graph["1"]["inputs"]
    assert set(range(asked["seed"], asked["seed"] + asked["count"])).isdisjoint(
        range(learned["seed"], learned["seed"] + learned["count"])
    )
    side, aspect = max(asked["width"], asked["height"]), asked["width"] / asked["height"]
    _, truth = draw_with(asked["shape"], 2 * EVALUATION_SEED + asked["seed"], long_side=side, aspect=aspect)
    ((found,),) = outputs["3"]["iaa_boxes"]
    assert overlap(found, truth) > 0.5 and outputs["before"]["iaa_boxes"] == [[]]
    assert (server.base / "models" / "iaa_adaptors" / f"{graph['4']['inputs']['name']}.safetensors").is_file()


def test_prompt_expansion(client: Client, trained_demo: None) -> None:
    graph = graph_of("prompt_expansion")
    outputs = run(client, graph).outputs
    idea = graph["1"]["inputs"]["value"]
    assert outputs["4"]["text"] == ["blue"]
    assert outputs["6"]["text"] == [f"{idea}, blue"]
    graph["1"]["inputs"]["value"] = "grass"
    assert run(client, graph).outputs["6"]["text"] == ["grass, green"], "the model was asked about the idea"


def test_caption_folder_to_dataset(client: Client, server: Server, trained_demo: None) -> None:
    """Of a folder of pictures, whose order is that of the disk."""
    graph = graph_of("caption_folder_to_dataset")
    scenes = fill_pictures_folder(client)
    run(client, graph)
    folder = server.base / "output" / graph["4"]["inputs"]["folder_name"]
    texts, pictures = sorted(folder.glob("*.txt")), sorted(folder.glob("*.png"))
    assert [file.stem for file in texts] == [file.stem for file in pictures] and len(texts) == len(scenes) > 1
    drawn = {draw_scene(scene).convert("RGB").tobytes(): caption(scene) for scene in scenes}
    truths = [drawn[Image.open(picture).convert("RGB").tobytes()] for picture in pictures]
    right = [file.read_text() == truth for file, truth in zip(texts, truths, strict=True)]
    assert sum(right) >= len(right) - 1, [file.read_text() for file in texts]


def test_without_its_folder_the_data_sets_template_names_it(client: Client) -> None:
    """ComfyUI says which one it misses; the note says where it goes."""
    graph = graph_of("caption_folder_to_dataset")
    assert graph["1"]["inputs"]["folder"] == PICTURES_FOLDER
    graph["1"]["inputs"]["folder"] = "no_such_folder"
    with pytest.raises(PromptError) as refused:
        client.run(graph)
    assert "no_such_folder" in "".join(refused.value.details)
    assert "*input* folder" in note_of(template("caption_folder_to_dataset"))


def test_crop_each_paste_back(client: Client) -> None:
    """Every box is a crop of its own, and the picture changes in the boxes alone."""
    graph = graph_of("crop_each_paste_back") | {"scene": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}
    outputs = run(client, graph).outputs
    (found,) = outputs["3"]["iaa_boxes"]
    crops = [client.image(shown).size for shown in outputs["5"]["images"]]
    names = [shown["filename"].rpartition("_0")[0] for shown in outputs["5"]["images"]]
    assert names == [box["label"].replace(" ", "-") for box in found]
    assert len(crops) == len(found) == len(graph["3"]["inputs"]["phrases"].splitlines())
    assert {max(size) for size in crops} == {graph["4"]["inputs"]["size"]}
    (before,), (after,) = (outputs[name]["images"] for name in ("scene", "8"))
    changed = (pixels(client, before) != pixels(client, after)).any(axis=-1)
    around = graph["4"]["inputs"]["padding"] + graph["4"]["inputs"]["multiple_of"]
    allowed = np.zeros_like(changed)
    for box in found:
        x, y = max(0, box["x"] - around), max(0, box["y"] - around)
        allowed[y : box["y"] + box["height"] + around, x : box["x"] + box["width"] + around] = True
    assert changed.any() and not changed[~allowed].any()


def test_crops_are_of_what_was_named(client: Client, trained_demo: None) -> None:
    graph = graph_of("crop_each_paste_back")
    (scene,) = scenes_of(graph)
    (found,) = run(client, graph).outputs["3"]["iaa_boxes"]
    for box in found:
        truth = box_of(scene, *box["label"].removeprefix("the ").split())
        assert overlap(box, truth) > 0.5, f"{box} is not at {truth}"


def test_ground_inpaint(client: Client) -> None:
    """Crop and mask are of one size that samplers take, and the picture changes where the mask is white alone."""
    shown = {"scene": ["1", 0], "crop": ["4", 0]}
    previews = {name: {"class_type": "PreviewImage", "inputs": {"images": place}} for name, place in shown.items()}
    graph = graph_of("ground_inpaint") | previews
    outputs = run(client, graph).outputs
    ((box,),) = outputs["3"]["iaa_boxes"]
    (crop,), (mask,), (before,), (after,) = (outputs[name]["images"] for name in ("crop", "6", "scene", "9"))
    assert client.image(crop).size == client.image(mask).size == (512, 512)
    share = (pixels(client, mask)[..., 0] > 127).mean()
    assert 0.05 < share < 0.6, "the mask is the box amid its surroundings"
    changed = (pixels(client, before) != pixels(client, after)).any(axis=-1)
    grown = graph["5"]["inputs"]["expand"] + 1
    x, y = max(0, box["x"] - grown), max(0, box["y"] - grown)
    inside = np.zeros_like(changed)
    inside[y : box["y"] + box["height"] + grown, x : box["x"] + box["width"] + grown] = True
    assert changed[inside].mean() > 0.5 and not changed[~inside].any()


def test_what_is_to_be_inpainted_is_what_was_named(client: Client, trained_demo: None) -> None:
    graph = graph_of("ground_inpaint")
    (scene,) = scenes_of(graph)
    ((box,),) = run(client, graph).outputs["3"]["iaa_boxes"]
    assert overlap(box, box_of(scene, *box["label"].removeprefix("the ").split())) > 0.5


def test_ground_sam3_mask(client: Client) -> None:
    """All of it fits together; ComfyUI misses the weights and nothing else."""
    with pytest.raises(PromptError) as refused:
        client.run(graph_of("ground_sam3_mask"))
    ((name, missing),) = refused.value.answer["node_errors"].items()
    assert missing["class_type"] == "CheckpointLoaderSimple"
    assert [error["type"] for error in missing["errors"]] == ["value_not_in_list"], name


@pytest.mark.parametrize("name", NOT_HERE)
def test_what_needs_more_runs_up_to_there_and_says_what_it_needs(client: Client, name: str) -> None:
    needed = NOT_HERE[name]
    outputs = run(client, without(graph_of(name), set(needed))).outputs
    assert outputs["3"]["iaa_boxes"][0]
    note = note_of(template(name))
    assert "needs" in note and all(what in note for what in needed.values())
    nodes = json.loads(template(name).read_text(encoding="utf-8"))["nodes"]
    (loader,) = (node for node in nodes if node["type"] == "CheckpointLoaderSimple")
    (model,) = loader["properties"]["models"]
    assert model["name"] == loader["widgets_values"][0] and model["url"].endswith(model["name"])


def test_no_workflow_goes_untested() -> None:
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in API} - tests == {"ground_impact_detailer"}, "tests/contract has its test"


def test_every_workflow_is_there_in_both_formats() -> None:
    assert {path.stem: API_NAMES[path.stem] for path in TEMPLATES} == API_NAMES
    assert {path.stem for path in API} == set(API_NAMES.values())


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_card_is_square_and_sharp(path: Path) -> None:
    """ComfyUI shows it in a square of some 240 pixels, twice that on a fine screen."""
    with Image.open(path.with_suffix(".jpg")) as card:
        assert card.size == (512, 512) and path.with_suffix(".jpg").stat().st_size < 100_000


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_note_says_what_to_press_in_english_and_chinese(path: Path) -> None:
    note = note_of(path)
    assert "*Run*" in note and note.rpartition("<br>")[2].startswith("中文：")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_no_node_lies_over_the_frame_of_a_group(path: Path) -> None:
    """Where the group's title is: a node lies in a group with its own title, or apart from it."""
    template = json.loads(path.read_text(encoding="utf-8"))
    for group in template["groups"]:
        left, top, width, height = group["bounding"]
        right, bottom = left + width, top + height
        for node in template["nodes"]:
            (x, y), (wide, high) = node["pos"], node["size"]
            above = y - TITLE_HEIGHT
            apart = x >= right or x + wide <= left or above >= bottom or y + high <= top
            inside = left <= x and x + wide <= right and top <= above and y + high <= bottom
            assert apart or inside, (group["title"], node.get("title", node["type"]))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_is_the_api_workflow_with_a_layout(path: Path, client: Client) -> None:
    template = json.loads(path.read_text(encoding="utf-8"))
    graph = copy.deepcopy(graph_of(API_NAMES[path.stem]))
    known = client.get_json("/object_info")
    nodes = {str(node["id"]): node for node in template["nodes"] if node["type"] != "MarkdownNote"}
    assert {name: node["type"] for name, node in nodes.items()} == {n: node["class_type"] for n, node in graph.items()}
    assert {node["type"] for node in nodes.values()} <= {*known, *NOT_HERE.get(API_NAMES[path.stem], ())}
    links = {(str(target), slot): [str(source), output] for _, source, output, target, slot, _ in template["links"]}
    for name, node in nodes.items():
        wanted = graph[name]["inputs"]
        linked = {i["name"]: links[name, slot] for slot, i in enumerate(node["inputs"]) if i.get("link") is not None}
        assert linked == {key: value for key, value in wanted.items() if isinstance(value, list)}, name
        for value in wanted.values():
            if not isinstance(value, list):
                assert value in node["widgets_values"], f"{node['type']} lacks {value!r}"
        assert "iaa_result" not in node["properties"], "a result of ours was saved along"
        typed = node.get("widgets_values_named", {})
        if node["type"] == "IAA_Text" and "prompt" in linked:
            assert typed["prompt"] == "", "nobody sees a prompt that a link replaces until the link is gone"
        if node["type"] == "IAA_Loader":
            (model,) = node["properties"]["models"]
            assert model["directory"] == "iaa" and model["name"] == "qihoo360/Inner-Adaptor-Architecture"
    assert template["groups"] and any(node["type"] == "MarkdownNote" for node in template["nodes"])


def test_comfyui_lists_the_templates_and_nothing_else(client: Client) -> None:
    listed = client.get_json("/workflow_templates")["iaa-nodes"]
    assert set(listed) == {path.stem for path in TEMPLATES}
