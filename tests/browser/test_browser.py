"""Templates and views as a user meets them, in both of ComfyUI's renderers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from templates import API_NAMES, BRIEFLY, WORKFLOWS, fill_pictures_folder, template

if TYPE_CHECKING:
    from conftest import ComfyPage

TEMPLATES = sorted(WORKFLOWS.glob("*.json"))
SHOWING = {
    "IAA_Caption",
    "IAA_Ground",
    "IAA_Text",
    "IAA_Chat",
    "IAA_Choose",
    "IAA_SelectBoxes",
    "IAA_MergeBoxes",
    "IAA_Teach",
}
"""Nodes that show what they found."""
NEEDS_MORE: dict[str, list[str]] = {"ground_sam3_mask": [], "ground_impact_detailer": ["DetailerForEach"]}
"""Templates that need models or packs, and say so; the server has neither. The nodes that it lacks."""
RUNNING = [file for file in TEMPLATES if API_NAMES[file.stem] not in NEEDS_MORE]
SCENE_AND_BOXES = template("ground_mask_crop")


def read(file: Path) -> dict[str, Any]:
    """A workflow in the UI's format."""
    return dict(json.loads(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize("file", RUNNING, ids=lambda file: file.stem)
def test_templates_open_and_run(comfy: ComfyPage, file: Path) -> None:
    """No node is missing, the run succeeds, and what our nodes found is on them."""
    fill_pictures_folder(comfy.server.client)
    comfy.load(read(file))
    assert comfy.missing_nodes() == []
    comfy.page.evaluate(BRIEFLY)
    comfy.run()
    with_view = comfy.page.evaluate(
        "() => app.graph._nodes.filter(n => n.widgets?.some(w => w.name === 'iaa_result')).map(n => n.type)"
    )
    ours = [node["type"] for node in read(file)["nodes"] if node["type"] in SHOWING]
    assert sorted(with_view) == sorted(ours) != []


def test_a_template_opens_from_the_template_browser(comfy: ComfyPage) -> None:
    """Chosen by its picture, run by the button."""
    comfy.choose_template(SCENE_AND_BOXES.stem)
    comfy.page.wait_for_function("() => app.graph._nodes.some(node => node.type === 'IAA_Ground')")
    kinds = comfy.page.evaluate("() => app.graph._nodes.map(node => node.type)")
    assert sorted(kinds) == sorted(node["type"] for node in read(SCENE_AND_BOXES)["nodes"])
    comfy.page.get_by_role("button", name="Run", exact=True).first.click()
    comfy.look_at("IAA_Ground").locator(".iaa-box").first.wait_for(state="attached")


@pytest.mark.parametrize("api_name", sorted(NEEDS_MORE))
def test_templates_that_need_more_open(comfy: ComfyPage, api_name: str) -> None:
    """Nodes of other packs are missing where those are, and none besides."""
    comfy.load(read(template(api_name)))
    assert comfy.missing_nodes() == NEEDS_MORE[api_name]


def test_boxes_lie_where_the_json_says(comfy: ComfyPage) -> None:
    """As many boxes as were found, each at its place on the shown picture to two pixels."""
    view, sent = comfy.ground()
    boxes, picture = sent["iaa_boxes"][0], sent["iaa_images"][0]
    assert len(boxes) >= 1
    shown = view.locator(".iaa-image").bounding_box()
    assert shown["width"] / shown["height"] == pytest.approx(picture["width"] / picture["height"], rel=0.02)
    assert view.locator(".iaa-box").count() == len(boxes)
    scale = shown["width"] / picture["width"]
    for index, box in enumerate(boxes):
        place = view.locator(f'.iaa-box[data-index="{index}"]').bounding_box()
        assert place["x"] == pytest.approx(shown["x"] + box["x"] * scale, abs=2)
        assert place["y"] == pytest.approx(shown["y"] + box["y"] * scale, abs=2)
        assert place["width"] == pytest.approx(box["width"] * scale, abs=2)
        assert place["height"] == pytest.approx(box["height"] * scale, abs=2)
        row = view.locator(f'.iaa-row[data-index="{index}"]').inner_text()
        assert box["label"] in row and f"{box['score']:.2f}" in row


def test_pointing_lights_box_and_row_together(comfy: ComfyPage) -> None:
    """From either side; a click keeps both lit, another lets go."""
    view, sent = comfy.ground()
    areas = [box["width"] * box["height"] for box in sent["iaa_boxes"][0]]
    index = areas.index(min(areas))  # the smallest lies on top, where boxes overlap
    box, row = (view.locator(f'.{name}[data-index="{index}"]') for name in ("iaa-box", "iaa-row"))
    row.hover()
    assert "iaa-on" in box.get_attribute("class")
    comfy.page.mouse.move(5, 500)
    assert "iaa-on" not in box.get_attribute("class")
    box.hover()
    assert "iaa-on" in row.get_attribute("class")
    row.click()
    comfy.page.mouse.move(5, 500)
    comfy.page.evaluate("() => document.activeElement.blur()")
    assert "iaa-on" in box.get_attribute("class")
    row.click()
    comfy.page.mouse.move(5, 500)
    comfy.page.evaluate("() => document.activeElement.blur()")
    assert "iaa-on" not in box.get_attribute("class")


def test_pages_turn_and_boxes_light_by_keys_alone(comfy: ComfyPage) -> None:
    """A button turns to the second picture, an arrow to the third; Enter keeps a box lit, Escape lets it go."""
    view, sent = comfy.ground(count=3)
    position, keys = view.locator(".iaa-position"), comfy.page.keyboard
    assert position.inner_text() == "1 / 3" and view.get_by_role("button", name="Previous image").is_disabled()
    view.get_by_role("button", name="Next image").click()
    assert position.inner_text() == "2 / 3"
    keys.press("ArrowRight")
    assert position.inner_text() == "3 / 3" and view.get_by_role("button", name="Next image").is_disabled()
    keys.press("ArrowRight")
    assert position.inner_text() == "3 / 3"
    assert view.locator(".iaa-box").count() == len(sent["iaa_boxes"][2])
    assert sent["iaa_images"][2]["filename"] in view.locator(".iaa-image").get_attribute("src")
    keys.press("ArrowLeft")
    assert position.inner_text() == "2 / 3"
    view.locator(".iaa-row").first.focus()
    keys.press("Enter")
    assert view.locator(".iaa-row").first.get_attribute("aria-pressed") == "true"
    assert view.locator(".iaa-box.iaa-on").count() == 1
    keys.press("Escape")
    assert view.locator(".iaa-on").count() == 0


def test_a_chat_turn_shows_boxes_or_words_as_its_task_is(comfy: ComfyPage) -> None:
    """A node that showed boxes shows words once its task was changed, in the room that it had, and goes back."""
    comfy.load(read(template("chat_across_tasks")))
    turn = "app.graph._nodes.find(node => node.title === 'G: points')"
    heights = set()
    for task, view in [("G", "iaa-boxes"), ("MM", "iaa-texts"), ("G", "iaa-boxes"), ("MM", "iaa-texts")]:
        comfy.page.evaluate(f"task => {turn}.widgets.find(w => w.name === 'task').value = task", task)
        comfy.run()
        heights.add(comfy.page.evaluate(f"() => {turn}.size[1]"))
        shown = comfy.page.evaluate(f"() => {turn}.widgets.find(w => w.name === 'iaa_result').element.outerHTML")
        assert view in shown
        assert comfy.page.evaluate(f"() => {turn}.widgets.filter(w => w.name === 'iaa_result').length") == 1
    assert len(heights) == 1


def test_a_node_is_as_high_as_before_once_a_text_has_streamed_in(comfy: ComfyPage) -> None:
    """The host's widget for a text in the making lets a node grow; whether a frame was drawn meanwhile is no matter."""
    turn = "app.graph._nodes.find(node => node.title === 'G: points')"
    streams = f"() => {turn}.widgets.some(w => w.name === '$$node-text-preview')"
    heights = []
    for fresh, streaming in [(True, False), (True, True), (False, True)]:
        if fresh:
            comfy.load(read(template("chat_across_tasks")))
        if streaming:
            comfy.page.evaluate(
                f"() => app.api.dispatchCustomEvent('progress_text', {{nodeId: `${{{turn}.id}}`, text: 'one moment'}})"
            )
            comfy.page.wait_for_function(streams)
            comfy.wait_until_drawn()
        comfy.page.evaluate(f"() => {turn}.widgets.find(w => w.name === 'max_new_tokens').value -= 1")
        comfy.run()
        assert not comfy.page.evaluate(streams)
        heights.append(comfy.page.evaluate(f"() => {turn}.size[1]"))
    assert len(set(heights)) == 1


def test_json_is_copied(comfy: ComfyPage) -> None:
    """What the clipboard holds are the boxes that the node sent."""
    view, sent = comfy.ground()
    view.get_by_role("button", name="Copy JSON").click()
    comfy.page.wait_for_timeout(200)
    copied = json.loads(comfy.page.evaluate("() => navigator.clipboard.readText()"))
    assert copied == [[{k: v for k, v in box.items() if k != "color"} for box in page] for page in sent["iaa_boxes"]]


def test_boxes_are_back_after_a_reload(comfy: ComfyPage) -> None:
    """The page is loaded anew, nothing is run, and the boxes are there."""
    comfy.forget()
    view, sent = comfy.ground()
    count = view.locator(".iaa-box").count()
    # The frontend writes its draft of the workflow with a delay.
    comfy.page.wait_for_function("() => Object.values(localStorage).some(kept => kept.includes('iaa_result'))")
    comfy.page.reload()
    comfy.wait_until_ready()
    comfy.page.wait_for_function("() => app.graph._nodes.some(node => node.type === 'IAA_Ground')")
    comfy.look_at("IAA_Ground")  # only what is in sight is in the page
    comfy.page.wait_for_selector(".iaa-box", state="attached")
    assert comfy.look_at("IAA_Ground").locator(".iaa-box").count() == count == len(sent["iaa_boxes"][0])


def test_boxes_are_saved_with_the_workflow(comfy: ComfyPage) -> None:
    """A workflow saved after a run, opened again, shows what was found; its inputs are the same."""
    comfy.ground()
    saved = comfy.page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))")
    inputs = {n["id"]: n.get("widgets_values") for n in read(SCENE_AND_BOXES)["nodes"]}
    for node in saved["nodes"]:
        if node["type"].startswith("IAA_"):
            assert node["widgets_values"] == inputs[node["id"]]
    comfy.load(read(template("caption")))
    comfy.load(saved)
    assert comfy.look_at("IAA_Ground").locator(".iaa-box").count() >= 1
