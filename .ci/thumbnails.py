"""Takes the pictures of the workflow templates, ``workflows/NAME.jpg``: squares for ComfyUI's template dialog with what
comes out of a run. And the README's, ``docs/images/ground.png``: a template after its run.

``thumbnails.py [NAME...]`` needs ComfyUI (COMFYUI_PATH). Without names it takes the README's picture as well, and needs
Playwright (``pip install playwright``), Chromium (CHROMIUM, by default ``/usr/bin/chromium``) and a Chinese font. To
be run when templates, the look of our nodes or the demo model have changed.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

PROJECT = Path(__file__).parents[1]
sys.path.append(str(PROJECT / "tests"))

from comfyui_server import Client, Graph, find_comfyui, link_pack, node, running  # noqa: E402
from templates import API_NAMES, WORKFLOWS, fill_pictures_folder, template  # noqa: E402

SIDE = 512
"""Of a card, in pixels: twice what the dialog shows."""
MARGIN, GAP, FONT_SIZE = 20, 12, 27
GROUND, INK = (28, 30, 36), (240, 240, 240)


@dataclass(frozen=True)
class Card:
    """What a card shows of a run.

    Attributes:
        pictures: (node, output) of images.
        words: what stands below them: lines, in which ``{node}`` is what that node said.
        without: nodes that need what this machine lacks, left out of the run with all that follows them.
    """

    pictures: tuple[tuple[str, int], ...] = ()
    words: str = ""
    without: tuple[str, ...] = ()


MARKED = ("3", 2)
CARDS = {
    "branch_on_choice": Card((("7", 0),), "Is there a green star?\nYes: marked. No: inverted."),
    "caption": Card((("1", 0),), "{3}"),
    "caption_folder_to_dataset": Card((("1", 0),), "{3}"),
    "chat_across_tasks": Card((("1", 0),), "How many shapes are there? {3}\nThe opposite of left? {5}"),
    "crop_each_paste_back": Card((("7", 0), ("4", 0))),
    "ground": Card((MARKED,), "the yellow star\nthe green circle\nthe white cross"),
    "ground_impact_detailer": Card((MARKED,), "“a ripe red apple”\nneeds ComfyUI-Impact-Pack", without=("8",)),
    "ground_inpaint": Card((MARKED, ("8", 0))),
    "ground_mask_crop": Card((MARKED, ("8", 0))),
    "ground_sam3_mask": Card((MARKED,), "boxes become outlines\nneeds SAM 3.1", without=("4",)),
    "teach_new_shape": Card((MARKED,), "learned from 30 pictures:\n“the heart”"),
    "prompt_expansion": Card(
        words="Your idea: the sky on a clear day\n\n"
        "The model is asked: What color is the sky on a clear day?\n\n"
        "It says: {4}\n\nYour prompt: {6}"
    ),
}
README_TEMPLATE = "ground_mask_crop"
SETTINGS = {"Comfy.VueNodes.Enabled": True, "Comfy.Minimap.Visible": False, "Comfy.TutorialCompleted": True}
"""Of the frontend for the README's picture: Nodes 2.0, nothing over it, and no dialog as on a first visit."""
NO_NOTICES = "[data-testid=error-overlay] { display: none }"
QUEUED = """async () => {
    const queue = await (await fetch('/queue')).json();
    return queue.queue_running.length + queue.queue_pending.length;
}"""
PLACE = """() => {
    const shown = [...app.graph._nodes, ...app.graph._groups], boxes = shown.map(each => each.boundingRect);
    const at = i => boxes.map(box => box[i]);
    const [left, top] = [Math.min(...at(0)) - 20, Math.min(...at(1)) - 20];
    const right = Math.max(...boxes.map(box => box[0] + box[2])) + 20;
    const bottom = Math.max(...boxes.map(box => box[1] + box[3])) + 20;
    const { scale, offset } = app.canvas.ds;
    return [left + offset[0], top + offset[1], right - left, bottom - top].map(value => value * scale);
}"""


def without(graph: Graph, names: tuple[str, ...]) -> Graph:
    """A graph without these nodes and those that feed on them."""
    rest = {name: made for name, made in graph.items() if name not in names}
    fed = {n for n, made in rest.items() for v in made["inputs"].values() if isinstance(v, list) and v[0] not in rest}
    return without(rest, tuple(fed)) if fed else rest


def run(client: Client, graph: Graph, card: Card) -> tuple[list[Image.Image], dict[str, str]]:
    """The pictures of a card, and what each node said."""
    graph = without(graph, card.without)
    shown = {f"card{i}": node("PreviewImage", images=list(place)) for i, place in enumerate(card.pictures)}
    outputs = client.run(graph | shown).outputs
    pictures = [client.image(file) for name in shown for file in outputs[name]["images"]]
    return pictures, {name: str(made["text"][0]) for name, made in outputs.items() if made.get("text")}


def with_answers(words: str, said: dict[str, str]) -> str:
    """A card's words with what nodes said in them."""
    return re.sub(r"\{(\w+)\}", lambda found: said[found[1]], words)


def on_ground(picture: Image.Image) -> Image.Image:
    """A picture with what is transparent of it dark."""
    ground = Image.new("RGBA", picture.size, (*GROUND, 255))
    return Image.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")


def draw_card(pictures: list[Image.Image], words: str) -> Image.Image:
    """A square: the first pictures large, more of them smaller, and words below."""
    card = Image.new("RGB", (SIDE, SIDE), GROUND)
    font = ImageFont.load_default(FONT_SIZE)
    lines = [part for line in words.splitlines() for part in wrapped(line, font)]
    line_height = round(FONT_SIZE * 1.3)
    room = SIDE - 2 * MARGIN - (len(lines) * line_height + GAP if lines and pictures else 0)
    y = MARGIN
    for row, height in rows(pictures, room):
        x = MARGIN
        width = (SIDE - 2 * MARGIN - GAP * (len(row) - 1)) // len(row)
        for picture in row:
            small = on_ground(picture)
            small.thumbnail((width, height), Image.Resampling.LANCZOS)
            card.paste(small, (x + (width - small.width) // 2, y + (height - small.height) // 2))
            x += width + GAP
        y += height + GAP
    y = y if pictures else (SIDE - len(lines) * line_height) // 2
    for line in lines:
        ImageDraw.Draw(card).text((MARGIN, y), line, INK, font)
        y += line_height
    return card


def rows(pictures: list[Image.Image], room: int) -> list[tuple[list[Image.Image], int]]:
    """Pictures in rows of one, two or three, with each row's height."""
    if len(pictures) <= 1:
        return [(pictures, room)] if pictures else []
    if len(pictures) == 2:
        return [([picture], (room - GAP) // 2) for picture in pictures]
    if len(pictures) == 4 and len({picture.size for picture in pictures}) == 1:
        return [(pictures[:2], (room - GAP) // 2), (pictures[2:], (room - GAP) // 2)]
    small = (room - GAP) * 3 // 10
    return [(pictures[:1], room - GAP - small), (pictures[1:], small)]


def wrapped(line: str, font: Any) -> list[str]:
    """A line in parts that fit a card's width."""
    parts = [""]
    for word in line.split(" "):
        longer = f"{parts[-1]} {word}".strip()
        if font.getlength(longer) > SIDE - 2 * MARGIN:
            parts.append(word)
        else:
            parts[-1] = longer
    return parts


def take_readme_picture(server: Any) -> None:
    """The README's picture: a template after its run, in Nodes 2.0, as its nodes lie."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1700, "height": 1300})
        for _ in range(2):  # the first visit opens the templates' dialog, at a time of its own
            page.goto(f"http://{server.client.address}")
            page.wait_for_function("Boolean(window.app?.graph && window.LiteGraph?.registered_node_types.IAA_Ground)")
            for setting, value in SETTINGS.items():
                page.evaluate("([name, value]) => app.extensionManager.setting.set(name, value)", [setting, value])
        page.add_style_tag(content=NO_NOTICES)
        page.evaluate(
            "template => app.loadGraphData(template)", json.loads(template(README_TEMPLATE).read_text("utf-8"))
        )
        page.evaluate("() => { app.canvas.ds.scale = 1; app.canvas.ds.offset = [120, 190]; app.queuePrompt(0); }")
        time.sleep(2)
        while page.evaluate(QUEUED):
            time.sleep(0.5)
        time.sleep(7)  # until the notice that the run is done has gone
        x, y, width, height = page.evaluate(PLACE)
        shot = Image.open(io.BytesIO(page.screenshot(clip={"x": x, "y": y, "width": width, "height": height})))
        file = PROJECT / "docs" / "images" / "ground.png"
        shot.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
        browser.close()


def main(names: list[str]) -> None:
    """Takes the pictures of the named templates, or of all and the README's."""
    comfyui = find_comfyui(PROJECT)
    if comfyui is None:
        sys.exit("No ComfyUI was found. Set COMFYUI_PATH.")
    with tempfile.TemporaryDirectory() as base:
        link_pack(PROJECT, Path(base))
        with running(comfyui, Path(base)) as server:
            fill_pictures_folder(server.client)
            for name in names or API_NAMES:
                api_name = API_NAMES[name]
                card = CARDS[api_name]
                graph = json.loads((WORKFLOWS / "api" / f"{api_name}.json").read_text("utf-8"))
                pictures, said = run(server.client, graph, card)
                draw_card(pictures, with_answers(card.words, said)).save(WORKFLOWS / f"{name}.jpg", quality=90)
            if not names:
                take_readme_picture(server)


if __name__ == "__main__":
    main(sys.argv[1:])
