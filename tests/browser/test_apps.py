"""Apps, and subgraphs with our nodes inside: what is seen where the nodes are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    from conftest import ComfyPage

PROJECT = Path(__file__).parents[2]
BLUEPRINTS = sorted((PROJECT / "subgraphs").glob("*.json"))
ONE_RENDERER = pytest.mark.parametrize("pages", ["nodes-2.0"], indirect=True)
"""To which ComfyUI switches by itself when an app is built; apps look the same in both."""
HOST = "app.graph.nodes.find(node => node.subgraph)"
SEARCH_OPENS = """async () => {
    for (let tick = 0; tick < 100; tick++) {
        if (document.activeElement?.tagName === 'INPUT') return true;
        await new Promise(done => setTimeout(done, 100));
    }
    return false;
}"""
ADD_SCENE = """([seed, sink]) => {
    const host = HOST;
    const scene = LiteGraph.createNode('IAA_DemoScene');
    app.graph.add(scene);
    scene.pos = [host.pos[0] - 400, host.pos[1]];
    scene.widgets.find(widget => widget.name === 'seed').value = seed;
    scene.connect(0, host, host.findInputSlot('image'));
    if (!sink) return;
    const preview = LiteGraph.createNode('PreviewImage');
    app.graph.add(preview);
    preview.pos = [host.pos[0] + 500, host.pos[1]];
    host.connect(host.findOutputSlot(sink), preview, 0);
}""".replace("HOST", HOST)


def app_with(kind: str) -> dict[str, Any]:
    """The template that is configured as an app whose results are those of nodes of a kind."""
    for file in sorted((PROJECT / "workflows").glob("*.json")):
        workflow = json.loads(file.read_text(encoding="utf-8"))
        results = workflow["extra"].get("linearData", {}).get("outputs", [])
        if kind in {node["type"] for node in workflow["nodes"] if node["id"] in results}:
            return dict(workflow)
    raise AssertionError(f"No template is an app that shows what {kind} finds.")


def open_app(comfy: ComfyPage, workflow: dict[str, Any]) -> None:
    """Loads a workflow that is configured as an app, and shows it as one."""
    comfy.load(workflow)
    comfy.page.evaluate("() => app.extensionManager.workflow.activeWorkflow.activeMode = 'app'")
    comfy.page.get_by_test_id("linear-widgets").wait_for()
    comfy.page.wait_for_timeout(500)
    skip = comfy.page.get_by_role("button", name="Skip")
    if skip.is_visible():  # a tour, where apps were never used before
        skip.click()
    inputs = workflow["extra"]["linearData"]["inputs"]
    assert comfy.page.get_by_test_id("app-mode-widget-item").count() == len(inputs)


def run_app(comfy: ComfyPage) -> dict[str, Any]:
    """Presses an app's button; returns what all nodes sent."""
    before = set(comfy.server.client.get_json("/history"))
    comfy.page.get_by_test_id("linear-run-button").get_by_role("button", name="Run", exact=True).click()
    outputs = newest_run(comfy, before)["outputs"]
    comfy.page.get_by_test_id("linear-history-item").first.wait_for()
    return dict(outputs)


def newest_run(comfy: ComfyPage, before: set[str]) -> dict[str, Any]:
    """Waits for a run that was not there before; returns what the history says of it.

    Raises:
        AssertionError: it does not end.
    """
    for _ in range(600):
        for key, entry in comfy.server.client.get_json("/history").items():
            if key not in before:
                return dict(entry)
        comfy.page.wait_for_timeout(100)
    raise AssertionError("The run did not end.")


@ONE_RENDERER
def test_an_app_shows_the_picture_with_its_boxes(comfy: ComfyPage) -> None:
    """Not the plain one, and no second."""
    workflow = app_with("IAA_Ground")
    open_app(comfy, workflow)
    (result,) = workflow["extra"]["linearData"]["outputs"]
    sent = run_app(comfy)[str(result)]
    (marked,), ((plain,),) = sent["images"], sent["iaa_images"]
    images = comfy.page.get_by_test_id("linear-image-output").all()
    assert [marked["filename"] in image.get_attribute("src") for image in images] == [True]
    assert marked["filename"] != plain["filename"]


@ONE_RENDERER
def test_an_app_shows_texts(comfy: ComfyPage) -> None:
    """The caption of one node, the answer of another; and their picture, which is a third's."""
    workflow = app_with("IAA_Caption")
    open_app(comfy, workflow)
    sent = run_app(comfy)
    results = workflow["extra"]["linearData"]["outputs"]
    said = [sent[str(result)]["text"][0] for result in results if "text" in sent[str(result)]]
    pictures = comfy.page.get_by_test_id("linear-image-output")
    items = comfy.page.get_by_test_id("linear-history-item").filter(has_not=pictures)
    read = []
    for index in range(items.count()):
        items.nth(index).click()
        comfy.page.wait_for_timeout(500)
        read.append(comfy.page.locator("article.whitespace-pre-wrap").inner_text())
    assert sorted(read) == sorted(said)


@ONE_RENDERER
def test_a_view_is_no_input_of_an_app(comfy: ComfyPage) -> None:
    """What is typed is: a click makes it one."""
    comfy.ground()
    comfy.page.evaluate("() => app.extensionManager.workflow.activeWorkflow.activeMode = 'builder:inputs'")
    comfy.look_at("IAA_Ground")
    rows = comfy.page.get_by_test_id("node-widget")
    choice = comfy.page.locator(".cursor-pointer:has(> .size-4)")
    typed = rows.filter(has=comfy.page.get_by_text("several", exact=True))
    assert typed.locator(choice).count() == 1
    assert rows.filter(has=comfy.page.locator(".iaa-boxes")).locator(choice).count() == 0
    typed.locator(choice).click()
    chosen = "() => app.rootGraph.extra.linearData?.inputs.map(([id, name]) => name).join()"
    comfy.page.wait_for_function(f"() => ({chosen})() === 'several'")
    comfy.page.evaluate("() => app.extensionManager.workflow.activeWorkflow.activeMode = 'graph'")


@pytest.mark.parametrize("blueprint", BLUEPRINTS, ids=lambda file: file.stem)
def test_a_blueprint_is_found_and_shows_its_result(comfy: ComfyPage, blueprint: Path) -> None:
    """Found by its title as any node, it runs as it is, and what is found inside is seen from outside."""
    add_blueprint(comfy, blueprint.stem)
    inputs = comfy.page.evaluate(f"() => {HOST}.inputs.map(input => input.name)")
    if "image" in inputs:
        comfy.page.evaluate(ADD_SCENE, [20, "picture" if "paste" in blueprint.stem else ""])
    else:
        for name, colour in (("a.png", "red"), ("b.png", "blue")):
            comfy.server.client.upload(name, Image.new("RGB", (64, 64), colour), "holiday")
        comfy.page.evaluate(f"() => {HOST}.widgets.find(widget => widget.name === 'folder').value = 'holiday'")
    kind = "boxes" if "image" in inputs else "texts"
    shown = run_inside(comfy, kind)
    comfy.page.evaluate(f"() => app.canvas.centerOnNode({HOST})")
    view = comfy.page.locator(".iaa-boxes, .iaa-texts").filter(visible=True)
    view.wait_for()
    if kind == "boxes":
        assert view.locator(".iaa-box").count() == len(shown["boxes"][0]) >= 1
    else:
        assert view.locator(".iaa-text").count() == len(shown["texts"]) >= 2


def run_inside(comfy: ComfyPage, kind: str) -> dict[str, Any]:
    """Runs a graph with a subgraph; returns what that shows, once it is of a kind."""
    before = set(comfy.server.client.get_json("/history"))
    comfy.page.evaluate("() => app.queuePrompt(0)")
    assert newest_run(comfy, before)["status"]["status_str"] == "success"
    comfy.page.wait_for_function(f"kind => {HOST}.properties.iaa_result?.kind === kind", arg=kind)
    comfy.page.wait_for_timeout(500)
    comfy.wait_until_drawn()
    return dict(comfy.page.evaluate(f"() => {HOST}.properties.iaa_result"))


def add_blueprint(comfy: ComfyPage, title: str) -> None:
    """Adds a blueprint to an empty graph, by the search that a double click opens."""
    if comfy.page.get_by_role("dialog").is_visible():
        comfy.page.keyboard.press("Escape")
    comfy.page.evaluate("() => { app.graph.clear(); app.canvas.ds.reset(); }")
    comfy.page.wait_for_timeout(300)
    for height in (500, 600, 700):  # the page is others' too, and hears a double click only once it is idle
        comfy.page.mouse.dblclick(800, height)
        if comfy.page.evaluate(SEARCH_OPENS):
            break
    comfy.page.keyboard.type(title)
    comfy.page.get_by_text(title).first.wait_for()
    comfy.page.wait_for_timeout(500)
    comfy.page.keyboard.press("Enter")
    comfy.page.wait_for_timeout(500)
    comfy.page.mouse.click(900, 400)
    comfy.page.wait_for_function(f"() => {HOST}")


def test_what_a_subgraph_shows_is_saved_with_the_workflow(comfy: ComfyPage) -> None:
    """Opened again, its node shows the boxes that it showed."""
    add_blueprint(comfy, "Find and mask (IAA)")
    comfy.page.evaluate(ADD_SCENE, [20, ""])
    run_inside(comfy, "boxes")
    saved = comfy.page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))")
    comfy.page.evaluate("() => app.graph.clear()")
    comfy.load(saved)
    (kept,) = filter(None, (node["properties"].get("iaa_result") for node in saved["nodes"]))
    count = len(kept["boxes"][0])
    comfy.page.evaluate(f"() => app.canvas.centerOnNode({HOST})")
    comfy.page.wait_for_function(f"() => document.querySelectorAll('.iaa-box').length === {count}")
