"""A real ComfyUI in a real browser."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comfyui_server import PACK, Server, find_comfyui, link_pack, running
from templates import template

PROJECT = Path(__file__).parents[2]
PATIENCE = 180_000
"""Milliseconds; a busy machine makes slow pages, not wrong ones."""
ARRIVED = """sent => Object.entries(sent).every(([id, wanted]) => {
    const result = app.graph._nodes.find(node => `${node.id}` === id)?.properties.iaa_result;
    return JSON.stringify(result?.images ?? result?.texts) === JSON.stringify(wanted);
})"""
PICTURED = """title => {
    let card = title;
    while (card && !card.querySelector("img")) card = card.parentElement;
    return card?.querySelector("img").naturalWidth > 0;
}"""
DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
LAUNCH = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test here, so that ``-m "not comfy"`` leaves them out."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("comfy")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A ComfyUI with this checkout as its only pack, and a node that holds runs."""
    comfyui = find_comfyui(PROJECT)
    if comfyui is None:
        pytest.skip(
            "NO COMFYUI: the browser tests do not run. Set COMFYUI_PATH to one with its requirements installed."
        )
    base = tmp_path_factory.mktemp("comfyui")
    held = shutil.copy(Path(__file__).with_name("held_run.py"), link_pack(PROJECT, base).parent)
    # What stands first is one more name on the list of custom nodes.
    with running(comfyui, base, Path(held).name, *frontend_arguments()) as started:
        yield started


def frontend_arguments() -> list[str]:
    """Makes ComfyUI serve the frontend that COMFYUI_FRONTEND_ROOT names, rather than its own.

    Raises:
        FileNotFoundError: there is no frontend.
    """
    root = os.environ.get("COMFYUI_FRONTEND_ROOT")
    if not root:
        return []
    if not Path(root, "index.html").is_file():
        raise FileNotFoundError(f"COMFYUI_FRONTEND_ROOT is {root}, but there is no frontend (index.html).")
    return ["--front-end-root", root]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The system's Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="NO PLAYWRIGHT: the browser tests do not run.")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("NO CHROMIUM: the browser tests do not run. Install the package chromium.")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=LAUNCH)
        yield started
        started.close()


@pytest.fixture(scope="session", params=["classic", "nodes-2.0"])
def pages(request: pytest.FixtureRequest, server: Server, browser: Any) -> Iterator[Pages]:
    """Opens pages in either renderer."""
    opened = Pages(browser, server, vue=request.param != "classic")
    yield opened
    opened.close()


@pytest.fixture
def comfy(request: pytest.FixtureRequest, pages: Pages) -> Iterator[ComfyPage]:
    """ComfyUI's page in either renderer; at the end there must be no error of ours in the console."""
    failed = request.session.testsfailed
    page = pages.page()
    yield page
    errors = page.our_errors
    if errors or request.session.testsfailed > failed:
        pages.close()  # a failed test leaves a page in any state
    assert errors == []


class Pages:
    """The page that tests in one renderer share: to open one takes longer than most of them."""

    def __init__(self, browser: Any, server: Server, vue: bool) -> None:
        self.browser, self.server, self.vue = browser, server, vue
        self.context: Any = None
        self.opened: ComfyPage | None = None

    def page(self) -> ComfyPage:
        """The open one, or a new one."""
        if self.opened is None:
            self.close()  # what is left of one that did not open
            self.context = self.browser.new_context(viewport={"width": 1700, "height": 1000})
            self.context.grant_permissions(["clipboard-read", "clipboard-write"])
            page = ComfyPage(self.context.new_page(), self.server, self.vue)
            page.open()
            self.opened = page
        return self.opened

    def close(self) -> None:
        """Forgets it, and what its browser kept."""
        if self.context is not None:
            self.context.close()
        self.context = self.opened = None


class ComfyPage:
    """ComfyUI's frontend, driven as a user would where that matters, and by its own functions where it does not."""

    def __init__(self, page: Any, server: Server, vue: bool) -> None:
        self.page, self.server, self.vue = page, server, vue
        self.console: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.set_default_navigation_timeout(PATIENCE)
        page.on("dialog", lambda dialog: dialog.accept())  # whether to leave what is not saved
        page.on("console", lambda m: self.console.append(f"{m.text} {m.location}") if m.type == "error" else None)
        page.on("pageerror", lambda error: self.console.append(f"{error.message} {error.stack}"))

    @property
    def our_errors(self) -> list[str]:
        """Errors that name our scripts, or come from them."""
        return [line for line in self.console if "iaa" in line.lower()]

    def open(self) -> None:
        """Opens the page and chooses the renderer."""
        self.page.goto(f"http://{self.server.client.address}")
        self.wait_until_ready()
        self.page.evaluate("on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", self.vue)
        self.page.wait_for_timeout(500)

    def wait_until_ready(self) -> None:
        """Waits until the frontend has set itself up."""
        self.page.wait_for_function("window.app?.extensionManager?.setting && window.app.canvas")
        self.page.wait_for_function("Object.keys(LiteGraph.registered_node_types).includes('IAA_Ground')")

    def forget(self) -> None:
        """Forgets the drafts of workflows, of which the page would open the last again."""
        self.page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")

    def choose_language(self, locale: str) -> None:
        """Sets ComfyUI's language, and loads the page anew: what is open keeps its words until then."""
        self.page.evaluate("locale => app.extensionManager.setting.set('Comfy.Locale', locale)", locale)
        self.forget()
        self.page.reload()
        self.wait_until_ready()

    def load(self, workflow: dict[str, Any]) -> None:
        """Loads a workflow in the UI's format and shows its nodes at full size."""
        if self.page.get_by_role("dialog").is_visible():  # of templates, where ComfyUI was never used before
            self.page.keyboard.press("Escape")
        self.page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
        self.page.wait_for_timeout(500)
        self.wait_until_drawn()

    def wait_until_drawn(self) -> None:
        """Waits for a frame: the classic renderer gives a node its least height when it draws it."""
        self.page.evaluate(DRAWN)

    def choose_template(self, name: str) -> None:
        """Picks one of our templates in the template browser, once its picture is there."""
        browser = self.page.get_by_role("dialog")
        if not browser.is_visible():  # it opens by itself where ComfyUI was never used before
            self.page.get_by_role("button", name="Templates").first.click()
        browser.get_by_text(PACK).click()
        title = browser.get_by_text(name, exact=True)
        self.page.wait_for_function(PICTURED, arg=title.element_handle())
        title.click()
        browser.wait_for(state="hidden")

    def missing_nodes(self) -> list[str]:
        """Types of nodes that the frontend does not know."""
        return list(
            self.page.evaluate(
                "() => app.graph._nodes.map(n => n.type).filter(t => !LiteGraph.registered_node_types[t])"
            )
        )

    def run(self) -> None:
        """Queues the graph, and waits for its end and until our nodes have what it found.

        Raises:
            AssertionError: it fails.
        """
        before = set(self.server.client.get_json("/history"))
        self.page.evaluate("() => app.queuePrompt(0)")
        for _ in range(PATIENCE // 100):
            history = self.server.client.get_json("/history")
            new = [entry for key, entry in history.items() if key not in before]
            if new:
                assert new[0]["status"]["status_str"] == "success", new[0]["status"]
                sent = {
                    name: plain_pictures(shown) or shown["iaa_texts"]
                    for name, shown in new[0]["outputs"].items()
                    if shown.keys() & {"iaa_images", "iaa_texts"}
                }
                self.page.wait_for_function(ARRIVED, arg=sent)
                self.page.wait_for_timeout(500)
                self.wait_until_drawn()
                return
            self.page.wait_for_timeout(100)
        raise AssertionError("The run did not end.")

    def load_ground(self, count: int = 1) -> None:
        """Loads the template that grounds phrases; for several scenes, phrases of which each scene holds something."""
        workflow = json.loads(template("ground_mask_crop").read_text(encoding="utf-8"))
        (scene,) = (node for node in workflow["nodes"] if node["type"] == "IAA_DemoScene")
        scene["widgets_values"][-1] = scene["widgets_values_named"]["count"] = count
        if count > 1:
            (found,) = (node for node in workflow["nodes"] if node["type"] == "IAA_Ground")
            found["widgets_values"][0] = found["widgets_values_named"]["phrases"] = "all the shapes\nthe leftmost shape"
        self.load(workflow)

    def ground(self, count: int = 1) -> tuple[Any, dict[str, Any]]:
        """Runs that template; returns the view of the boxes, and what the node sent."""
        self.load_ground(count)
        self.run()
        return self.look_at("IAA_Ground"), self.output("IAA_Ground")

    def look_at(self, kind: str) -> Any:
        """Centres the first node of a type at full size; returns a locator of the page's part with its view."""
        self.page.evaluate(
            """kind => {
                const node = app.graph._nodes.find(node => node.type === kind);
                const ds = app.canvas.ds;
                ds.scale = 1;
                ds.offset[0] = 420 - node.pos[0];
                ds.offset[1] = 90 - node.pos[1];
                app.canvas.setDirty(true, true);
            }""",
            kind,
        )
        self.page.wait_for_timeout(500)
        return self.page.locator(".iaa-boxes" if kind == "IAA_Ground" else ".iaa-view").first

    def output(self, kind: str) -> dict[str, Any]:
        """What the newest run's node of a type sent to be shown."""
        history = self.server.client.get_json("/history")
        newest = list(history.values())[-1]
        graph = newest["prompt"][2]
        shown = next(shown for key, shown in newest["outputs"].items() if graph[key]["class_type"] == kind)
        return shown | {"iaa_images": plain_pictures(shown)}


def plain_pictures(shown: dict[str, Any]) -> list[dict[str, Any]]:
    """The pictures that our view draws boxes on; a node sends each in a list of its own."""
    return [picture for pictures in shown.get("iaa_images", []) for picture in pictures]
