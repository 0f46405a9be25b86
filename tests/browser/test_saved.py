"""What a workflow says was found, which its author may have written, and very many boxes: a browser bears both."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
from templates import template

if TYPE_CHECKING:
    from conftest import ComfyPage

GROUND = "app.graph._nodes.find(node => node.type === 'IAA_Ground')"
ELSEWHERE = "http://elsewhere.invalid/seen.png"
MANY = """count => {
    const view = NODE.widgets.find(widget => widget.name === 'iaa_result').holder.view;
    const place = n => ({ x: n % 400, y: n * 7 % 400, width: 9, height: 9 });
    const box = n => ({ ...place(n), label: `it ${n}`, score: 0.5, color: '#aabbcc' });
    const begun = performance.now();
    view.show({ kind: 'boxes', images: view.images, boxes: [Array.from({ length: count }, (_, n) => box(n))] });
    const seconds = (performance.now() - begun) / 1000;
    return { seconds, rows: view.rows.children.length, count: view.count.textContent };
}""".replace("NODE", GROUND)


def wrong_results(right: dict[str, Any]) -> list[Any]:
    """Results that no node sent, each but slightly other than the right one or not like it at all."""
    wrong: list[Any] = [5, "a", [], {"kind": "toString"}, {"kind": "texts", "texts": 5}, {"kind": "boxes"}]
    for name, value in {
        "color": f"url({ELSEWHERE})",
        "score": "high",
        "label": None,
        "x": None,
    }.items():
        changed = deepcopy(right)
        changed["boxes"][0][0][name] = value
        wrong.append(changed)
    wrong += [right | {"images": []}, right | {"images": [{"filename": "a.png"}]}, right | {"boxes": [[None]]}]
    return wrong


def test_a_workflow_shows_nothing_that_no_node_sent(comfy: ComfyPage) -> None:
    """A colour could send for a picture elsewhere, and so tell who opens the workflow."""
    comfy.ground()
    asked: list[str] = []
    comfy.page.on("request", lambda request: asked.append(request.url))
    workflow = comfy.page.evaluate("() => app.graph.serialize()")
    (ground,) = (node for node in workflow["nodes"] if node["type"] == "IAA_Ground")
    right = ground["properties"]["iaa_result"]
    assert right["boxes"][0], "there is a box to change"
    for wrong in [*wrong_results(right), right]:
        ground["properties"]["iaa_result"] = wrong
        comfy.load(workflow)
        loaded = comfy.page.evaluate("() => app.graph._nodes.length")
        shown = comfy.page.evaluate(f"() => Boolean({GROUND}.widgets.find(widget => widget.name === 'iaa_result'))")
        assert (loaded, shown) == (len(workflow["nodes"]), wrong is right), wrong
    assert not [url for url in asked if "elsewhere" in url]


def test_very_many_boxes_do_not_freeze_the_browser(comfy: ComfyPage) -> None:
    comfy.ground()
    shown = comfy.page.evaluate(MANY, 20_000)
    assert shown["seconds"] < 5
    assert (shown["rows"], shown["count"]) == (1000, "20000 boxes")


def test_a_result_that_is_very_large_is_shown_and_not_saved(comfy: ComfyPage) -> None:
    """It would be in every picture that ComfyUI saves with its workflow."""
    comfy.ground()
    found = """count => {
        const node = NODE;
        const { view } = node.widgets.find(widget => widget.name === 'iaa_result').holder;
        const place = n => ({ x: n % 200, y: n % 150, width: 9, height: 9 });
        const box = n => ({ ...place(n), label: `it ${n}`, score: 0.5, color: '#aabbcc' });
        const boxes = [Array.from({ length: count }, (_, n) => box(n))];
        const output = { iaa_images: view.images.map(image => [image]), iaa_boxes: boxes };
        app.api.dispatchCustomEvent('executed', { node: `${node.id}`, display_node: `${node.id}`, output });
        return { count: view.count.textContent, kept: node.properties.iaa_result?.boxes[0].length ?? null };
    }""".replace("NODE", GROUND)
    assert comfy.page.evaluate(found, 20) == {"count": "20 boxes", "kept": 20}
    assert comfy.page.evaluate(found, 3_000) == {"count": "3000 boxes", "kept": None}
    assert comfy.page.locator(".iaa-stale").count() == 0
    comfy.page.evaluate(f"() => {{ {GROUND}.widgets.find(w => w.name === 'phrases').value = 'the moon'; }}")
    comfy.page.mouse.click(5, 700)
    comfy.page.wait_for_selector(".iaa-stale")
    assert comfy.page.evaluate(found, 20) == {"count": "20 boxes", "kept": 20}


@pytest.mark.parametrize("random", [False, True])
def test_a_caption_saved_before_there_were_styles_loads_as_it_was(comfy: ComfyPage, random: bool) -> None:
    """What was drawn at random, too: its group of widgets stands before the new ones."""
    workflow = json.loads(template("caption").read_text(encoding="utf-8"))
    sampling = ["random", 0.6, 40, 0.8, 0.1, 1.2, 77, "fixed"] if random else ["likeliest words"]
    for node in workflow["nodes"]:
        if node["type"] == "IAA_Caption":
            node["widgets_values"] = ["detailed", "And the light?", 99, *sampling]
            node.pop("widgets_values_named")
            node["inputs"] = [each for each in node["inputs"] if each["name"] in ("model", "image")]
    comfy.load(workflow)
    prompt = comfy.page.evaluate("async () => (await app.graphToPrompt()).output")
    (inputs,) = [made["inputs"] for name, made in prompt.items() if name == "3"]
    expected = {"preset": "detailed", "prompt": "And the light?", "max_new_tokens": 99, "sampling": sampling[0]}
    if random:
        names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")
        expected |= {f"sampling.{name}": value for name, value in zip(names, sampling[1:], strict=False)}
    expected |= {"length": "any", "extras": "", "forbid": "", "language": "English"}
    assert {name: inputs[name] for name in expected} == expected
