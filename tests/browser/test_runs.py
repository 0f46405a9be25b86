"""Runs that overlap with what else is done: another workflow, another run, Cancel; and pictures that a node shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from comfyui_server import PACK
from templates import BRIEFLY, template

if TYPE_CHECKING:
    from conftest import ComfyPage

GROUND = "app.graph._nodes.find(node => node.type === 'IAA_Ground')"
PHRASES = f"{GROUND}.widgets.find(widget => widget.name === 'phrases')"
KEPT = "() => app.graph._nodes.some(node => node.properties.iaa_result)"
REMEMBERED = f"/extensions/{PACK}/js/remembered.js"
TRACKER = "app.extensionManager.workflow.activeWorkflow.changeTracker"
MODIFIED = "() => app.extensionManager.workflow.activeWorkflow.isModified"
OTHER_SCENES = """seed => {
    const scene = app.graph._nodes.find(node => node.type === 'IAA_DemoScene');
    scene.widgets.find(widget => widget.name === 'seed').value = seed;
}"""
"""Which no run has remembered."""
LEAVE = "async workflow => { await app.queuePrompt(0); await app.loadGraphData(workflow); }"
TURN_TO = "shift => app.extensionManager.command.execute(`Workspace.${shift}OpenedWorkflow`)"
NOTE_RESULTS = """() => {
    window.seen = [];
    const note = ({ detail }) => {
        const node = GROUND;
        if (detail.node !== `${node.id}`) return;
        const { element } = node.widgets.find(widget => widget.name === 'iaa_result');
        seen.push([node.properties.iaa_result.typed.phrases, Boolean(element.querySelector('.iaa-stale'))]);
    };
    app.api.addEventListener('executed', note);
    return () => app.api.removeEventListener('executed', note);
}""".replace("GROUND", GROUND)
QUEUE_TWO = """async phrases => {
    for (const each of phrases) {
        PHRASES.value = each;
        await app.queuePrompt(0);
    }
}""".replace("PHRASES", PHRASES)
ENDS: dict[str, dict[str, Any]] = {
    "execution_interrupted": {"prompt_id": "a", "node_id": "1", "node_type": "IAA_Chat", "executed": []},
    "execution_error": {
        "prompt_id": "a",
        "node_id": "1",
        "node_type": "IAA_Chat",
        "executed": [],
        "exception_message": "It ended.",
        "exception_type": "RuntimeError",
        "traceback": [],
        "current_inputs": {},
        "current_outputs": [],
    },
}


def read(api_name: str) -> dict[str, Any]:
    """A template in the UI's format."""
    return dict(json.loads(template(api_name).read_text(encoding="utf-8")))


def history(comfy: ComfyPage) -> set[str]:
    """The runs that have ended."""
    return set(comfy.server.client.get_json("/history"))


@contextmanager
def held(comfy: ComfyPage, folder: Path) -> Iterator[None]:
    """Runs that are queued meanwhile begin afterwards: however fast a processor is, none ends before."""
    file = folder / "held"
    file.touch()
    try:
        prompt = {"1": {"class_type": "HeldRun", "inputs": {"file": str(file)}}}
        comfy.server.client.post("/prompt", {"prompt": prompt})
        before = history(comfy)
        yield
        assert history(comfy) == before, "all that is done meanwhile is done before a run ends"
    finally:
        file.unlink()


def wait_for_runs(comfy: ComfyPage, before: set[str], count: int = 1) -> None:
    """Waits for the end of runs, and until the page has heard of it.

    Raises:
        AssertionError: they do not end.
    """
    for _ in range(1800):
        if len(history(comfy) - before) >= count:
            comfy.page.wait_for_timeout(1000)
            return
        comfy.page.wait_for_timeout(100)
    raise AssertionError("The runs did not end.")


@pytest.mark.parametrize("other", ["caption", "ground_mask_crop", "ground"])
def test_a_result_goes_to_the_workflow_that_was_run(comfy: ComfyPage, other: str, tmp_path: Path) -> None:
    """Not to the one that is open at its end, where another of our nodes has its id, nor once that is opened again."""
    comfy.load_ground(count=6)
    ground, second = comfy.page.evaluate(f"() => {GROUND}.id"), read(other)
    assert any(str(node["id"]) == str(ground) and node["type"].startswith("IAA_") for node in second["nodes"])
    before = history(comfy)
    comfy.page.evaluate(OTHER_SCENES, 1000 + len(before))
    with held(comfy, tmp_path):
        comfy.page.evaluate(LEAVE, second)
    wait_for_runs(comfy, before, 2)
    assert not comfy.page.evaluate(KEPT) and not comfy.page.evaluate(MODIFIED)
    assert comfy.page.locator(".iaa-box").count() == 0
    turn(comfy, "Previous")
    comfy.page.wait_for_function(KEPT)
    assert comfy.look_at("IAA_Ground").locator(".iaa-box").count() >= 1
    assert comfy.page.locator(".iaa-stale").count() == 0
    turn(comfy, "Next")
    assert not comfy.page.evaluate(KEPT)


def test_a_result_that_comes_while_another_tab_is_open_is_of_its_own_inputs(comfy: ComfyPage, tmp_path: Path) -> None:
    comfy.load_ground(count=6)
    before = history(comfy)
    comfy.page.evaluate(OTHER_SCENES, 2000 + len(before))
    with held(comfy, tmp_path):
        comfy.page.evaluate("() => app.queuePrompt(0)")
        comfy.page.evaluate(f"() => {{ {PHRASES}.value = 'something else'; }}")
        comfy.page.evaluate(f"() => {TRACKER}.captureCanvasState()")
        comfy.page.evaluate("workflow => app.loadGraphData(workflow)", read("caption"))
    wait_for_runs(comfy, before, 2)
    turn(comfy, "Previous")
    assert comfy.page.evaluate(f"() => {PHRASES}.value") == "something else"
    assert not comfy.page.evaluate(KEPT), "it is no answer to what is typed now"


def test_what_the_page_remembers_goes_with_nodes_and_workflows(comfy: ComfyPage) -> None:
    """A node that was deleted has its boxes again once that is undone."""
    comfy.ground()
    boxes = comfy.page.locator(".iaa-box").count()
    remembered = f"async () => {{ const {{ views, newestIn }} = await import('{REMEMBERED}'); return "
    key = comfy.page.evaluate(f"() => `${{{GROUND}.graph.id}}:${{{GROUND}.id}}`")
    assert comfy.page.evaluate(remembered + "[...views.keys()]; }") == [key]
    comfy.page.evaluate(f"() => {{ app.graph.remove({GROUND}); {TRACKER}.captureCanvasState(); }}")
    assert comfy.page.evaluate(remembered + "views.size; }") == 0
    comfy.page.evaluate(f"() => {TRACKER}.undo()")
    comfy.page.wait_for_function(f"() => {GROUND}")
    comfy.look_at("IAA_Ground")
    assert comfy.page.locator(".iaa-box").count() == boxes > 0
    comfy.page.evaluate("() => { window.left = app.extensionManager.workflow.activeWorkflow; }")
    assert comfy.page.evaluate(remembered + "[...newestIn(left).keys()]; }") == [key]
    comfy.load(read("prompt_expansion"))
    comfy.page.evaluate(f"() => {{ app.graph._nodes[0].pos[0] += 9; {TRACKER}.captureCanvasState(); }}")
    assert comfy.page.evaluate(remembered + "[views.size, newestIn(left).size]; }") == [0, 1], "who comes back needs it"
    comfy.page.evaluate("() => left.unload()")  # as closing its tab does
    assert comfy.page.evaluate(remembered + "newestIn(left).size; }") == 0


def turn(comfy: ComfyPage, shift: str) -> None:
    """Turns to the tab beside the open one."""
    comfy.page.evaluate(TURN_TO, shift)
    comfy.page.wait_for_timeout(1000)
    comfy.wait_until_drawn()


def test_of_two_runs_each_result_is_of_its_own_inputs(comfy: ComfyPage, tmp_path: Path) -> None:
    """That of the first says that other phrases are typed by now."""
    comfy.load_ground()
    before, phrases = history(comfy), ["the red circle", "the blue star"]
    stop = comfy.page.evaluate_handle(NOTE_RESULTS)
    with held(comfy, tmp_path):
        comfy.page.evaluate(QUEUE_TWO, phrases)
    wait_for_runs(comfy, before, 3)
    stop.evaluate("stop => stop()")
    assert comfy.page.evaluate("() => seen") == [[phrases[0], True], [phrases[1], False]]


@pytest.mark.parametrize("end", ENDS)
def test_a_node_is_as_high_as_before_once_a_run_ends_without_its_text(comfy: ComfyPage, end: str) -> None:
    comfy.load(read("chat_across_tasks"))
    turn = "app.graph._nodes.find(node => node.title === 'G: points')"
    height = f"() => {turn}.size[1]"
    before = comfy.page.evaluate(height)
    comfy.page.evaluate(
        f"() => app.api.dispatchCustomEvent('progress_text', {{nodeId: `${{{turn}.id}}`, text: 'one moment'}})"
    )
    comfy.page.wait_for_function(f"() => {turn}.widgets.some(w => w.name === '$$node-text-preview')")
    comfy.wait_until_drawn()
    grown = comfy.page.evaluate(height)
    comfy.page.evaluate("([end, detail]) => app.api.dispatchCustomEvent(end, detail)", [end, ENDS[end]])
    comfy.page.wait_for_timeout(500)
    comfy.wait_until_drawn()
    assert comfy.page.evaluate(height) == before
    assert comfy.vue or grown > before
    comfy.page.keyboard.press("Escape")  # the error's dialog


@pytest.mark.parametrize("end", ENDS)
def test_a_run_that_ends_in_another_tab_leaves_a_node_its_height(comfy: ComfyPage, end: str) -> None:
    """And keeps no height that a later run would give back in place of the user's."""
    comfy.load(read("chat_across_tasks"))
    turned = "app.graph._nodes.find(node => node.title === 'G: points')"
    stream = f"() => app.api.dispatchCustomEvent('progress_text', {{nodeId: `${{{turned}.id}}`, text: 'one moment'}})"
    stop, height = "([end, detail]) => app.api.dispatchCustomEvent(end, detail)", f"() => {turned}.size[1]"
    before = comfy.page.evaluate(height)
    comfy.page.evaluate(stream)
    comfy.page.wait_for_function(f"() => {turned}.widgets.some(w => w.name === '$$node-text-preview')")
    comfy.wait_until_drawn()
    comfy.load(read("caption"))
    comfy.page.evaluate(stop, [end, ENDS[end]])
    comfy.page.wait_for_timeout(500)
    comfy.page.keyboard.press("Escape")  # the error's dialog
    turn(comfy, "Previous")
    assert comfy.page.evaluate(height) == before
    comfy.page.evaluate(f"() => {turned}.setSize([{turned}.size[0], {before} + 150])")
    comfy.wait_until_drawn()
    comfy.page.evaluate(stream)
    comfy.wait_until_drawn()
    comfy.page.evaluate(stop, [end, ENDS[end]])
    comfy.page.wait_for_timeout(500)
    comfy.wait_until_drawn()
    assert comfy.page.evaluate(height) == before + 150
    comfy.page.keyboard.press("Escape")


def test_what_was_taught_is_seen_in_pictures(comfy: ComfyPage) -> None:
    """The curve and the pictures held out, beside the scores."""
    comfy.load(read("teach_new_shape"))
    comfy.page.evaluate(BRIEFLY)
    comfy.run()
    sent = comfy.output("IAA_Teach")["images"]
    assert len(sent) == 2
    comfy.look_at("IAA_Teach")
    if comfy.vue:
        comfy.page.wait_for_function(
            "name => [...document.querySelectorAll('img')].some(img => img.src.includes(name) && img.naturalWidth)",
            arg=sent[0]["filename"],
        )
    else:
        shown = "() => app.graph._nodes.find(node => node.type === 'IAA_Teach').imgs?.map(img => img.naturalWidth > 0)"
        comfy.page.wait_for_function(f"() => ({shown})()?.join() === 'true,true'")
