"""Keys that are pressed inside our views: ComfyUI has uses for most, and at Delete it deletes the selected node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import ComfyPage

KEYS = ["Delete", "Backspace", "Shift+Delete", ".", "r", "w", "n", "m", "a", "k", "v", "h", "q", "p"]
"""What ComfyUI has uses for, without Ctrl and Alt, in either of its frontends."""
STATE = """kind => {
    const node = app.graph._nodes.find(node => node.type === kind);
    return JSON.stringify([
        app.graph._nodes.length, node?.mode, node?.flags, [...app.canvas.selectedItems].map(({ id }) => id),
        app.canvas.read_only, app.canvas.ds.scale, app.extensionManager.sidebarTab?.activeSidebarTabId,
    ]);
}"""


@pytest.mark.parametrize("place", ["row", "bar", "lightbox", "texts"])
def test_keys_inside_a_view_do_nothing_to_its_node(comfy: ComfyPage, place: str) -> None:
    """Although it is selected."""
    kind = "IAA_Chat" if place == "texts" else "IAA_Ground"
    view = show_texts(comfy) if place == "texts" else comfy.ground()[0]
    comfy.page.evaluate("kind => app.canvas.select(app.graph._nodes.find(node => node.type === kind))", kind)
    comfy.page.wait_for_timeout(300)
    if place == "row":
        view.locator(".iaa-row").first.focus()
    elif place == "bar":
        view.get_by_role("button", name="Copy JSON").focus()
    elif place == "lightbox":
        view.locator(".iaa-stage").click(position={"x": 5, "y": 5})
        comfy.page.locator("dialog.iaa-lightbox").wait_for()
    else:
        view.locator(".iaa-texts").click()
    before = comfy.page.evaluate(STATE, kind)
    for key in KEYS:
        comfy.page.keyboard.press(key)
        comfy.page.wait_for_timeout(60)
        assert comfy.page.evaluate(STATE, kind) == before, key
    if place == "lightbox":
        comfy.page.keyboard.press("Escape")


def show_texts(comfy: ComfyPage) -> Any:
    """Puts a node with a text into an empty graph; returns its view."""
    comfy.page.evaluate(
        """() => {
            app.graph.clear();
            const node = LiteGraph.createNode('IAA_Chat');
            app.graph.add(node);
            const output = { iaa_texts: ['Five shapes.'], text: ['Five shapes.'] };
            app.api.dispatchCustomEvent('executed', { node: `${node.id}`, display_node: `${node.id}`, output });
        }"""
    )
    return comfy.look_at("IAA_Chat")
