"""What an attacker's sweep through every input of every node found: each is a sentence of ours, or works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from comfyui_server import Client, Graph, PromptError, node, run_inside

INSIDE = Path(__file__).parent / "inside"
TINY = "sub/tiny"
SCENE: Graph = {
    "scene": node("IAA_DemoScene", seed=5, width=120, height=80),
    "loader": node("IAA_Loader", checkpoint=TINY),
}
BOX = {"x": 1, "y": 2, "width": 30, "height": 40, "label": "it"}


def show(graph: Graph, of: str = "it") -> Graph:
    """A graph with a node that asks for an output."""
    return SCENE | graph | {"show": node("PreviewAny", source=[of, 0])}


@pytest.mark.parametrize("name", ["foo", "", "image.x", "sampling.foo", "\x1b[2J"])
def test_a_link_to_no_input_is_told_of(client: Client, name: str) -> None:
    """ComfyUI hands over whatever is linked, whether the node has such an input or not."""
    linked = {"class_type": "IAA_MergeBoxes", "inputs": {"bboxes": BOX, name: ["scene", 1]}}
    error = client.run(show({"it": linked})).error
    assert "is no input of IAA Merge Boxes. Take the link away, or connect it to one of: bboxes, bboxes_2," in error
    assert "\x1b" not in error


def test_a_linked_address_that_is_none_is_told_of_by_its_input(client: Client) -> None:
    remote = node("IAA_RemoteLoader", servers=["scene", 1])
    error = client.run(SCENE | {"remote": remote, "it": node("IAA_Text", model=["remote", 0], prompt="a")}).error
    assert "'servers' cannot be read. " in error and "is no address of a server. Write http://HOST:PORT" in error


def test_any_name_of_a_node_is_one_that_text_is_shown_on(client: Client) -> None:
    text = node("IAA_Text", model=["loader", 0], prompt="What?", max_new_tokens=2)
    done = client.run(SCENE | {"a\ud800": text})
    assert done.status == "success", done.error


@pytest.mark.parametrize(("kind", "name"), [("IAA_Caption", "preset"), ("IAA_SelectBoxes", "indices")])
def test_what_is_refused_before_a_run_is_not_repeated_at_length(client: Client, kind: str, name: str) -> None:
    inputs = {"model": ["loader", 0], "image": ["scene", 0], "bboxes": BOX, name: "9" * 100_000}
    with pytest.raises(PromptError) as refused:
        client.run(show({"it": {"class_type": kind, "inputs": inputs}}))
    assert all(len(detail) < 1000 for detail in refused.value.details)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("IAA_Ground", "phrases"), ("IAA_Caption", "prompt"), ("IAA_Text", "system"), ("IAA_Chat", "message")],
)
def test_half_a_character_is_told_of_by_its_input(client: Client, kind: str, name: str) -> None:
    inputs = {"model": ["loader", 0], "image": ["scene", 0], "prompt": "so", "message": "so", "phrases": "so"}
    taken = client.get_json(f"/object_info/{kind}")[kind]["input"]
    names = {*taken["required"], *taken["optional"]}
    given = {key: value for key, value in inputs.items() if key in names} | {name: "a \ud800"}
    error = client.run(SCENE | {"it": {"class_type": kind, "inputs": given}}).error
    assert rf"{name!r} holds '\ud800', which is no character" in error


def test_masks_of_very_many_phrases_are_refused_before_the_model_is_asked(client: Client) -> None:
    picture = {"large": node("EmptyImage", width=2048, height=2048, batch_size=1, color=0)}
    phrases = "\n".join(f"thing {n}" for n in range(300))
    ground = node("IAA_Ground", model=["loader", 0], image=["large", 0], phrases=phrases, masks="one per phrase")
    done = client.run(SCENE | picture | {"it": ground})
    assert "'masks', one a phrase, would have 1258291200 pixels together, and 1073741824 are the most" in done.error
    assert done.seconds < 20


@pytest.mark.parametrize(
    ("kind", "inputs", "named"),
    [
        ("IAA_SelectBoxes", {"inside": {"__value__": [[BOX], []]}}, "'inside' and 'bboxes' do not go together."),
        ("IAA_SelectBoxes", {"bboxes": {"__value__": [[BOX], []]}}, "'bboxes' and 'image' do not go together."),
        ("IAA_MergeBoxes", {"bboxes": {"__value__": [[BOX], []]}}, "'bboxes' and 'image' do not go together."),
        ("IAA_CropBoxes", {"bboxes": {"__value__": [[BOX], []]}}, "'bboxes' and 'image' do not go together."),
        ("IAA_BoxesToMask", {"bboxes": {"__value__": [[BOX], []]}}, "'bboxes' and 'image' do not go together."),
    ],
)
def test_inputs_that_do_not_go_together_are_named(
    client: Client, kind: str, inputs: dict[str, Any], named: str
) -> None:
    error = client.run(show({"it": node(kind, **({"bboxes": BOX, "image": ["scene", 0]} | inputs))})).error
    assert named in error and "There are boxes for 2 images, but 1 images. Connect" in error


def test_what_other_nodes_may_make_is_told_of_by_its_input(comfyui: Path) -> None:
    report = run_inside(comfyui, INSIDE / "given.py")
    assert report["right"] == ["", ""]
    for name, error in report["empty"].items():
        assert repr(name.split()[-1]) in error or "came back" in error, (name, error)
    for error in report["no picture"]:
        assert error.startswith("'image' cannot be looked at. "), error
    for error in report["some null"]:
        assert error.startswith("'image' is null in 1 of 2 places of its list. "), error
    assert report["mask of rank 2"], "a mask without a batch is one mask"
