"""Runs every workflow template in a browser and takes its picture: ``workflows/NAME.jpg``, shown by ComfyUI's menu, and
of one the README's, ``docs/images/ground.png``.

``thumbnails.py [NAME...]`` needs ComfyUI (COMFYUI_PATH), Playwright (``pip install playwright``) and Chromium
(CHROMIUM, by default ``/usr/bin/chromium``). To be run when a template, a node's look or the demo model has changed.
Other packs in ComfyUI's custom_nodes are loaded too, for the template that needs one.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PROJECT = Path(__file__).parents[1]
sys.path.append(str(PROJECT / "tests"))

from comfyui_server import PACK, find_comfyui, link_pack, running  # noqa: E402

WIDTH = 720
IN_README = "ground_mask_crop"
NO_NOTICES = "[data-testid=error-overlay] { display: none }"  # of models that a template needs and nobody has here
READY = "() => window.app?.graph && window.LiteGraph && window.app.extensionManager"
QUEUED = """async () => {
    const queue = await (await fetch('/queue')).json();
    return queue.queue_running.length + queue.queue_pending.length;
}"""
FIT = """() => {
    const {graph, canvas} = window.app, items = [...graph.nodes, ...graph.groups];
    const title = item => item.type ? 30 : 0;
    const left = Math.min(...items.map(i => i.pos[0])), right = Math.max(...items.map(i => i.pos[0] + i.size[0]));
    const top = Math.min(...items.map(i => i.pos[1] - title(i)));
    const bottom = Math.max(...items.map(i => i.pos[1] + i.size[1]));
    const scale = Math.min(1700 / (right - left), 960 / (bottom - top), 1.4);
    canvas.ds.scale = scale;
    canvas.ds.offset = [80 / scale - left, 100 / scale - top];
    canvas.setDirty(true, true);
    const place = canvas.canvas.getBoundingClientRect();
    return [place.left + 80, place.top + 100, (right - left) * scale, (bottom - top) * scale];
}"""


def picture(page: Page, template: dict[str, Any]) -> Image.Image:
    """Opens a template, runs it, and gives the part of the window that it fills."""
    page.evaluate("template => window.app.loadGraphData(template, true, true)", template)
    page.keyboard.press("Escape")
    page.evaluate("() => window.app.queuePrompt(0, 1)")
    while page.evaluate(QUEUED):
        time.sleep(0.5)
    time.sleep(7)  # until the notice that the run is done has gone
    x, y, width, height = page.evaluate(FIT)
    time.sleep(1)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return shot.crop((round(x) - 10, round(y) - 10, min(shot.width, round(x + width) + 10), round(y + height) + 10))


def save(path: Path, taken: Image.Image) -> None:
    """Saves a template's picture where it belongs."""
    small = taken.resize((WIDTH, round(WIDTH * taken.height / taken.width)), Image.Resampling.LANCZOS)
    small.save(path.with_suffix(".jpg"), quality=88)
    if path.stem == IN_README:
        taken.quantize(256, dither=Image.Dither.NONE).save(PROJECT / "docs" / "images" / "ground.png", optimize=True)
    print(f"{path.with_suffix('.jpg')}: {small.width} x {small.height}")


def link_other_packs(comfyui: Path, base: Path) -> list[str]:
    """Makes the packs of a ComfyUI custom nodes of the base directory too; returns their names."""
    folders = [folder for folder in (comfyui / "custom_nodes").iterdir() if (folder / "__init__.py").is_file()]
    for folder in folders:
        (base / "custom_nodes" / folder.name).symlink_to(folder.resolve(), target_is_directory=True)
    return [folder.name for folder in folders]


def main(names: list[str]) -> None:
    """Takes the pictures of the named templates, or of all."""
    comfyui = find_comfyui(PROJECT)
    if comfyui is None:
        sys.exit("No ComfyUI was found. Set COMFYUI_PATH.")
    workflows = PROJECT / "workflows"
    chosen = [workflows / f"{name}.json" for name in names] or sorted(workflows.glob("*.json"))
    with tempfile.TemporaryDirectory() as base, sync_playwright() as playwright:
        link_pack(PROJECT, Path(base))
        others = link_other_packs(comfyui, Path(base))
        with running(comfyui, Path(base), "--whitelist-custom-nodes", PACK, *others) as server:
            chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1800, "height": 1100})
            page.goto(f"http://{server.client.address}")
            page.wait_for_function(READY, timeout=120_000)
            page.add_style_tag(content=NO_NOTICES)
            for setting in ("Comfy.Minimap.Visible", "Comfy.Graph.CanvasInfo"):
                page.evaluate("name => window.app.extensionManager.setting.set(name, false)", setting)
            for path in chosen:
                save(path, picture(page, json.loads(path.read_text(encoding="utf-8"))))
            browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
