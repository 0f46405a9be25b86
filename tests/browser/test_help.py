"""Help pages in ComfyUI's own panel, and Chinese: English with the classic renderer, Chinese with Nodes 2.0."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import ComfyPage, Pages

DOCS = Path(__file__).parents[2] / "web" / "docs"
EMPTY: dict[str, Any] = {"nodes": [], "links": [], "version": 0.4}
ADD = """kind => {
    app.graph.clear();
    const node = LiteGraph.createNode(kind);
    node.pos = [300, 60];
    app.graph.add(node);
    Object.assign(app.canvas.ds, { scale: 1, offset: [200, 100] });
    app.canvas.selectNode(node);
}"""
ASK = "kind => document.querySelector('.node-help-content h1')?.textContent === kind"
TOO_WIDE = """() => [...document.querySelectorAll('.node-help-content *')]
    .filter(part => part.scrollWidth > part.clientWidth + 1 && part.clientWidth && part.tagName !== 'PRE')
    .map(part => part.outerHTML)"""


@pytest.fixture(autouse=True, scope="module")
def own_page(pages: Pages) -> Iterator[None]:
    """A fresh one, without what other tests left; and they get one without the panel."""
    pages.close()
    yield
    pages.close()


@pytest.fixture
def chinese(comfy: ComfyPage) -> Iterator[ComfyPage]:
    """The page in Chinese, and in English again."""
    comfy.page.evaluate("() => app.extensionManager.setting.set('Comfy.Locale', 'zh')")
    comfy.page.wait_for_timeout(500)
    yield comfy
    comfy.page.evaluate("() => app.extensionManager.setting.set('Comfy.Locale', 'en')")
    comfy.page.wait_for_timeout(500)


def open_every_page(comfy: ComfyPage, language: str) -> None:
    """Every page appears, nothing is asked for that is not there, and nothing is wider than the panel."""
    asked: list[tuple[int, str]] = []
    comfy.page.on("response", lambda r: asked.append((r.status, r.url)) if "/docs/IAA_" in r.url else None)
    comfy.page.add_style_tag(content=".node-help-content { width: 250px !important }")
    comfy.load(EMPTY)
    for folder in sorted(DOCS.iterdir()):
        title = (folder / f"{language}.md").read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        comfy.page.evaluate(ADD, folder.name)
        if len(asked) == 0:  # the panel stays open
            comfy.page.get_by_test_id("info-button").click()
        comfy.page.wait_for_function(ASK, arg=title)
        assert comfy.page.evaluate(TOO_WIDE) == [], folder.name
    assert [status for status, _ in asked] == [200] * len(list(DOCS.iterdir())), asked


def test_help_pages_fit_their_panel(comfy: ComfyPage, request: pytest.FixtureRequest) -> None:
    """Narrow as it is on a screen of 1440 pixels, with 250 for the text."""
    if comfy.vue:
        request.getfixturevalue("chinese")
    open_every_page(comfy, "zh" if comfy.vue else "en")


def test_choices_are_shown_in_chinese_and_kept_in_english(chinese: ComfyPage) -> None:
    """In the list too; what is chosen there is what an English ComfyUI would hold."""
    page = chinese.page
    chinese.load(EMPTY)
    page.evaluate(ADD, "IAA_BoxesToMask")
    page.wait_for_timeout(500)
    if chinese.vue:
        page.get_by_text("每张图像一张").first.click()
        page.get_by_role("option", name="每个框一张").click()
    else:
        place: dict[str, Any] = page.evaluate(
            """() => {
                const node = app.graph._nodes[0], widget = node.widgets.find(w => w.name === "masks");
                const { scale, offset } = app.canvas.ds, frame = app.canvas.canvas.getBoundingClientRect();
                const x = node.pos[0] + node.size[0] / 2, y = node.pos[1] + widget.last_y + 10;
                return { x: frame.x + (x + offset[0]) * scale, y: frame.y + (y + offset[1]) * scale };
            }"""
        )
        page.mouse.click(place["x"], place["y"])
        page.locator(".litemenu-entry", has_text="每个框一张").click()
    chosen = "() => app.graph._nodes[0].widgets.find(w => w.name === 'masks').value"
    page.wait_for_function(f"{chosen.removeprefix('() => ')} === 'one per box'")
    assert page.evaluate(chosen) == "one per box"


def test_empty_fields_ask_in_chinese(chinese: ComfyPage) -> None:
    """In the element, which Nodes 2.0 does not show."""
    chinese.load(EMPTY)
    chinese.page.evaluate(ADD, "IAA_Ground")
    phrases = "app.graph._nodes[0].widgets.find(widget => widget.name === 'phrases')"
    assert chinese.page.evaluate(f"() => {phrases}.element.placeholder").startswith("要找什么，每行一个短语：")


def test_an_error_is_told_in_chinese(chinese: ComfyPage) -> None:
    """Where ComfyUI shows what a node said."""
    chinese.load(EMPTY)
    chinese.page.evaluate(
        """() => {
            const [scene, preview] = ["IAA_DemoScene", "PreviewImage"].map(kind => LiteGraph.createNode(kind));
            app.graph.add(scene);
            app.graph.add(preview);
            scene.connect(0, preview, 0);
            scene.widgets.find(widget => widget.name === "height").value = 64;
            app.queuePrompt(0);
        }"""
    )
    chinese.page.get_by_text("查看详情").first.click()
    chinese.page.get_by_text("448 × 64 的场景过于细长：长边最多为短边的 3 倍。").first.wait_for(state="attached")
    # ComfyUI asks its registry about the node, which the tests' server does not let it.
    chinese.console[:] = [line for line in chinese.console if "api.comfy.org" not in line]
