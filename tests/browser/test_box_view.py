"""The picture with its boxes: labels that leave it to be seen, the large view, keys, undoing, languages."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import ComfyPage

GROUND = "app.graph._nodes.find(node => node.type === 'IAA_Ground')"
SIZES = [(320, 560), (420, 760), (800, 900)]
"""Of the node, in pixels."""
LABELS = """([images, boxes]) => {
    const view = NODE.widgets.find(widget => widget.name === 'iaa_result').holder.view;
    view.show({ kind: 'boxes', images, boxes });
    const place = element => element.getBoundingClientRect().toJSON();
    const labels = [...view.element.querySelectorAll('.iaa-tag:not(.iaa-off)')];
    return {
        stage: place(view.stage.element),
        labels: labels.map(place),
        whole: labels.filter(label => !label.classList.contains('iaa-short')).length,
    };
}""".replace("NODE", GROUND)


def random_boxes(rng: random.Random) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """A picture's size, and 1 to 30 boxes in it: some tiny, some as large as it, some in a cluster."""
    width, height = rng.choice([(448, 448), (1024, 400), (400, 1024), (2000, 1500)])
    labels = ["cat", "the small red circle", "a person with a very long description " * 3, "花", "the left of the two"]
    boxes: list[dict[str, Any]] = []
    middle = rng.uniform(0, width), rng.uniform(0, height)
    for number in range(rng.choice([1, 2, 5, 8, 12, 30])):
        clustered = rng.random() < 0.5
        x, y = (middle[0], middle[1]) if clustered else (rng.uniform(0, width), rng.uniform(0, height))
        x, y = min(int(x), width - 1), min(int(y), height - 1)
        wide, high = (max(1, int(room * rng.random() ** 2)) for room in (width - x, height - y))
        color = f"#{rng.randrange(1 << 24):06x}"
        boxes.append({"x": x, "y": y, "width": wide, "height": high, "label": f"{rng.choice(labels)} {number}"})
        boxes[-1] |= {"score": rng.random(), "color": color}
    return {"width": width, "height": height}, boxes


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_no_two_labels_meet_and_none_leaves_the_stage(comfy: ComfyPage, size: tuple[int, int]) -> None:
    """On 200 random sets of boxes; up to 12 boxes all have a label or its number."""
    _, sent = comfy.ground()
    comfy.page.evaluate(f"size => {{ {GROUND}.setSize(size); app.canvas.setDirty(true, true); }}", list(size))
    comfy.page.wait_for_timeout(500)
    comfy.wait_until_drawn()
    rng = random.Random(16)
    whole = 0
    for case in range(200):
        extent, boxes = random_boxes(rng)
        picture = sent["iaa_images"][0] | extent
        shown = comfy.page.evaluate(LABELS, [[picture], [boxes]])
        stage, labels = shown["stage"], shown["labels"]
        assert len(labels) == len(boxes) or len(boxes) > 12, case
        for number, one in enumerate(labels):
            assert stage["left"] - 0.5 <= one["left"] < one["right"] <= stage["right"] + 0.5, (case, one, stage)
            assert stage["top"] - 0.5 <= one["top"] < one["bottom"] <= stage["bottom"] + 0.5, (case, one, stage)
            for other in labels[:number]:
                apart = (
                    one["right"] <= other["left"]
                    or other["right"] <= one["left"]
                    or one["bottom"] <= other["top"]
                    or other["bottom"] <= one["top"]
                )
                assert apart, (case, one, other)
        whole += shown["whole"]
    assert whole > 200  # they are not merely all hidden


def test_a_number_becomes_its_label_where_it_is_pointed_at(comfy: ComfyPage) -> None:
    """In place: the label that grows is still under the pointer, and inside the stage."""
    view, sent = comfy.ground()
    boxes = [sent["iaa_boxes"][0][0] | {"x": 300, "y": 10 * n, "width": 100, "height": 30} for n in range(40)]
    comfy.page.evaluate(LABELS, [sent["iaa_images"], [boxes]])
    tag = view.locator(".iaa-tag.iaa-short:not(.iaa-off)").first
    index = tag.get_attribute("data-index")
    tag.hover()
    label = view.locator(f'.iaa-tag[data-index="{index}"]')
    assert label.locator(".iaa-words").inner_text().startswith(boxes[0]["label"])
    stage, grown = view.locator(".iaa-stage").bounding_box(), label.bounding_box()
    assert grown["x"] + grown["width"] <= stage["x"] + stage["width"] + 0.5
    assert view.locator(".iaa-tag:visible").count() == 1
    assert "iaa-on" in view.locator(f'.iaa-row[data-index="{index}"]').get_attribute("class")


def test_what_a_node_grows_by_is_the_pictures(comfy: ComfyPage) -> None:
    """Neither the text field nor the list takes of it, and a square picture is as wide as its node at first."""
    view, _ = comfy.ground()
    stage = view.locator(".iaa-stage")
    width = comfy.page.evaluate(f"() => {GROUND}.size[0]")
    assert view.locator(".iaa-image").bounding_box()["width"] > 0.85 * width
    before = stage.bounding_box()["height"]
    comfy.page.evaluate(f"() => {{ const n = {GROUND}; n.setSize([n.size[0], n.size[1] + 120]); }}")
    comfy.page.evaluate("() => app.canvas.setDirty(true, true)")
    comfy.page.wait_for_timeout(500)
    assert stage.bounding_box()["height"] - before == pytest.approx(120, abs=2)


def test_a_click_opens_the_picture_large(comfy: ComfyPage) -> None:
    """Boxes lie where they should at every zoom; Escape closes it, and the focus is back at the button."""
    view, sent = comfy.ground()
    view.locator(".iaa-stage").click(position={"x": 5, "y": 5})
    dialog = comfy.page.locator("dialog.iaa-lightbox")
    large = dialog.locator(".iaa-image").bounding_box()
    assert large["height"] > 700
    middle = [large["x"] + large["width"] / 2, large["y"] + large["height"] / 2]
    comfy.page.mouse.move(*middle)
    comfy.page.mouse.wheel(0, -100)
    comfy.page.mouse.wheel(0, -100)
    comfy.page.wait_for_timeout(200)
    zoomed = dialog.locator(".iaa-image").bounding_box()
    assert zoomed["width"] == pytest.approx(large["width"] * 1.25**2, rel=0.01)
    comfy.page.mouse.down()
    comfy.page.mouse.move(middle[0] + 40, middle[1] + 30, steps=4)
    comfy.page.mouse.up()
    moved = dialog.locator(".iaa-image").bounding_box()
    assert moved["y"] - zoomed["y"] == pytest.approx(30, abs=2)
    box, scale = sent["iaa_boxes"][0][0], moved["width"] / sent["iaa_images"][0]["width"]
    place = dialog.locator('.iaa-box[data-index="0"]').bounding_box()
    assert place["x"] == pytest.approx(moved["x"] + box["x"] * scale, abs=2)
    assert place["width"] == pytest.approx(box["width"] * scale, abs=2)
    comfy.page.keyboard.press("0")
    assert dialog.locator(".iaa-image").bounding_box() == large
    comfy.page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert comfy.page.evaluate("() => document.activeElement.title") == "Enlarge"


def test_the_large_view_turns_pages_and_the_node_follows(comfy: ComfyPage) -> None:
    """Arrows turn; where it is closed is where the node is."""
    view, _ = comfy.ground(count=3)
    view.get_by_role("button", name="Enlarge").focus()
    comfy.page.keyboard.press("Enter")
    dialog = comfy.page.locator("dialog.iaa-lightbox")
    assert dialog.locator(".iaa-position").inner_text() == "1 / 3"
    comfy.page.keyboard.press("ArrowRight")
    comfy.page.keyboard.press("ArrowRight")
    assert dialog.locator(".iaa-position").inner_text() == "3 / 3"
    dialog.get_by_role("button", name="Close").click()
    dialog.wait_for(state="detached")
    assert view.locator(".iaa-position").inner_text() == "3 / 3"


def test_keys_in_the_list_are_the_lists(comfy: ComfyPage) -> None:
    """Up and Down move between rows; Delete and single letters do nothing to the node, although it is selected."""
    view, _ = comfy.ground()
    rows, keys = view.locator(".iaa-row"), comfy.page.keyboard
    focused = "() => document.activeElement.dataset.index"
    comfy.page.evaluate(f"() => app.canvas.select({GROUND})")
    rows.first.focus()
    keys.press("ArrowDown")
    assert comfy.page.evaluate(focused) == "1"
    assert view.locator(".iaa-box.iaa-on").get_attribute("data-index") == "1"
    keys.press("ArrowUp")
    assert comfy.page.evaluate(focused) == "0"
    keys.press("ArrowUp")
    assert comfy.page.evaluate(focused) == "0"
    for key in ("Delete", "Backspace", "p", "."):
        keys.press(key)
    comfy.page.wait_for_timeout(300)
    assert comfy.page.evaluate(f"() => Boolean({GROUND}) && !{GROUND}.pinned")


def test_undoing_after_a_run_takes_back_what_was_typed(comfy: ComfyPage) -> None:
    """Once; the boxes of other phrases are gone or said to be old, and redoing brings back both."""
    comfy.load_ground()
    phrases = f"{GROUND}.widgets.find(w => w.name === 'phrases')"
    first = comfy.page.evaluate(f"() => {phrases}.value")
    comfy.run()
    comfy.look_at("IAA_Ground")
    found = comfy.page.locator(".iaa-row").count()
    # Not typed: Chromium itself would undo in the field as well, and who is first is chance.
    comfy.page.evaluate(f"() => {{ {phrases}.value = 'the yellow triangle'; }}")
    comfy.page.mouse.click(5, 700)
    comfy.page.wait_for_function(f"() => {phrases}.value === 'the yellow triangle'")
    comfy.page.wait_for_selector(".iaa-stale")
    comfy.run()
    assert comfy.page.locator(".iaa-stale").count() == 0
    comfy.page.evaluate("() => document.activeElement.blur()")
    comfy.page.keyboard.press("Control+z")
    comfy.page.wait_for_function(f"first => {phrases}.value === first", arg=first)
    comfy.page.wait_for_function(f"found => document.querySelectorAll('.iaa-row').length === {found}")
    assert comfy.page.locator(".iaa-stale").count() == 0
    comfy.page.evaluate("() => document.activeElement.blur()")
    comfy.page.keyboard.press("Control+y")
    comfy.page.wait_for_function(f"() => {phrases}.value === 'the yellow triangle'")
    comfy.page.wait_for_function("() => document.querySelector('.iaa-label')?.textContent === 'the yellow triangle'")


def test_pictures_that_are_not_shown_are_counted(comfy: ComfyPage) -> None:
    """Nodes send the first pictures of a long batch, and the boxes of all."""
    view, _ = comfy.ground(count=2)
    comfy.page.evaluate(f"""() => {{
        const {{ view }} = {GROUND}.widgets.find(widget => widget.name === 'iaa_result').holder;
        view.show({{ kind: 'boxes', images: view.images, boxes: [...view.boxes, [], [], []] }});
    }}""")
    assert view.locator(".iaa-position").inner_text() == "1 / 2, 3 more not shown"


def test_the_views_words_are_in_comfyuis_language(comfy: ComfyPage) -> None:
    """Chinese, and English again."""
    comfy.choose_language("zh")
    try:
        view, sent = comfy.ground()
        assert view.locator(".iaa-count").inner_text() == f"{len(sent['iaa_boxes'][0])} 个框"
        assert view.get_by_role("button", name="复制 JSON").count() == 1
    finally:
        comfy.choose_language("en")


def test_where_nodes_are_in_english_their_views_are(comfy: ComfyPage) -> None:
    """In Chinese of another script, of which ComfyUI asks us for words that we do not have."""
    comfy.choose_language("zh-TW")
    try:
        view, sent = comfy.ground()
        assert comfy.page.evaluate(f"() => {GROUND}.title") == "IAA Ground"
        assert view.locator(".iaa-count").inner_text() == f"{len(sent['iaa_boxes'][0])} boxes"
        assert view.get_by_role("button", name="Copy JSON").count() == 1
    finally:
        comfy.choose_language("en")


def test_the_loader_is_wide_enough_for_its_default(comfy: ComfyPage) -> None:
    """As it is when it is added, the checkpoint's name is to be read whole."""
    comfy.page.evaluate("() => { app.graph.clear(); app.graph.add(LiteGraph.createNode('IAA_Loader')); }")
    comfy.page.wait_for_timeout(500)
    assert comfy.page.evaluate("() => app.graph._nodes[0].size[0]") >= 320
