"""Templates as ComfyUI's dialog opens them on a laptop's screen: readable without zooming, the note first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from templates import API_NAMES, BRIEFLY, WORKFLOWS, fill_pictures_folder, template

if TYPE_CHECKING:
    from conftest import ComfyPage

TEMPLATES = sorted(WORKFLOWS.glob("*.json"))
NEEDS_MORE = {"ground_sam3_mask", "ground_impact_detailer"}
SCREEN = {"width": 1440, "height": 900}
LEAST_SCALE = 0.74
"""Texts of 14 pixels are then at least 10 high."""
OPEN = "template => app.loadGraphData(template, true, true, null, { openSource: 'template' })"
PLACES = """() => {
    const { scale, offset } = app.canvas.ds, view = app.canvas.canvas.getBoundingClientRect();
    const place = ([x, y, width, height]) => ({
        left: view.left + (x + offset[0]) * scale,
        top: view.top + (y + offset[1]) * scale,
        right: view.left + (x + width + offset[0]) * scale,
        bottom: view.top + (y + height + offset[1]) * scale,
    });
    return { scale, nodes: app.graph._nodes.map(node => ({ title: node.title, ...place(node.boundingRect) })) };
}"""
READABLE = """() => [...document.querySelectorAll('.iaa-tag:not(.iaa-off)')].map(tag => {
    const { left, top, width, height } = tag.getBoundingClientRect();
    const seen = document.elementFromPoint(left + width / 2, top + height / 2);
    return { height, seen: Boolean(seen?.closest('.iaa-boxes')), text: tag.innerText };
})"""


@pytest.fixture
def laptop(comfy: ComfyPage) -> Iterator[ComfyPage]:
    """The page on a small screen."""
    before = comfy.page.viewport_size
    comfy.page.set_viewport_size(SCREEN)
    comfy.page.wait_for_timeout(300)
    yield comfy
    comfy.page.set_viewport_size(before)


def places(comfy: ComfyPage) -> tuple[float, list[dict[str, Any]]]:
    """The canvas's scale, and where nodes are on the screen, in pixels."""
    comfy.page.wait_for_timeout(500)
    comfy.wait_until_drawn()
    found = comfy.page.evaluate(PLACES)
    return found["scale"], found["nodes"]


def overlapping(nodes: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Pairs of nodes that lie on each other."""
    return [
        (one["title"], other["title"])
        for number, one in enumerate(nodes)
        for other in nodes[:number]
        if one["left"] < other["right"] - 1
        and other["left"] < one["right"] - 1
        and one["top"] < other["bottom"] - 1
        and other["top"] < one["bottom"] - 1
    ]


def open_template(comfy: ComfyPage, file: Path) -> None:
    """As a click on its card does."""
    if comfy.page.get_by_role("dialog").is_visible():
        comfy.page.keyboard.press("Escape")
    comfy.page.evaluate(OPEN, json.loads(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.stem)
def test_a_template_opens_readable_with_its_note_first(laptop: ComfyPage, file: Path) -> None:
    """All of it is on the screen, also what has grown in a run; nothing lies on anything else."""
    open_template(laptop, file)
    scale, nodes = places(laptop)
    assert scale >= LEAST_SCALE
    (note,) = (node for node in nodes if node["title"] == "How to use it")
    assert note["left"] == min(node["left"] for node in nodes) and note["top"] == min(node["top"] for node in nodes)
    if API_NAMES[file.stem] not in NEEDS_MORE:
        fill_pictures_folder(laptop.server.client)
        laptop.page.evaluate(BRIEFLY)
        laptop.run()
        again, nodes = places(laptop)
        assert again == scale
    for node in nodes:
        assert node["left"] >= 0 and node["top"] >= 0, node
        assert node["right"] <= SCREEN["width"] and node["bottom"] <= SCREEN["height"], node
    assert overlapping(nodes) == []


def test_boxes_are_read_without_zooming(laptop: ComfyPage) -> None:
    """From the dialog, by the button: every label is seen, on a large picture, under no part of ComfyUI's own."""
    laptop.choose_template(template("ground").stem)
    laptop.page.wait_for_function("() => app.graph._nodes.some(node => node.type === 'IAA_Ground')")
    laptop.page.get_by_role("button", name="Run", exact=True).first.click()
    laptop.page.locator(".iaa-box").first.wait_for(state="attached")
    laptop.page.wait_for_timeout(1000)
    labels = laptop.page.evaluate(READABLE)
    assert len(labels) == 3 and all(label["seen"] and label["height"] >= 11 for label in labels), labels
    assert laptop.page.locator(".iaa-image").first.bounding_box()["width"] >= 350
