"""Choosing, checking, labelling and captions of boxes through nodes in a running ComfyUI, beside Python, in one run.

    python benchmarks/asking_in_comfyui.py [--scenes 40]

ComfyUI is the one that the tests find (COMFYUI_PATH); it is started for this, computes on the CPU and has the demo
model in 32 bit. Scenes are some that nobody trained on; each is uploaded, and each question is a graph of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from comfyui_server import Client, find_comfyui, link_pack, node, running

from iaa_runtime import IAAPipeline
from iaa_runtime.boxes.answers import Detection
from iaa_runtime.pipeline.choices import Choice
from iaa_runtime.shapes.asking import YES_AND_NO, evaluate_asking
from iaa_runtime.text.prompts import presence_question

PROJECT = Path(__file__).resolve().parents[1]


class InComfyUI:
    """What is scored of a pipeline, asked through the nodes about one picture at a time."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def caption(self, images: Any, prompt: str = "", *, max_new_tokens: int = 256) -> list[str]:
        """IAA Caption."""
        asked = node("IAA_Caption", preset="question", prompt=prompt, max_new_tokens=max_new_tokens)
        return self._ask(images, asked, 0)

    def choose(self, images: Any, question: str, choices: Sequence[str]) -> list[Choice]:
        """IAA Choose; among two, so that the probability of one is that of the other."""
        asked = node("IAA_Choose", question=question, choices="\n".join(choices))
        index, probability = (self._ask(images, asked, output)[0] for output in (1, 2))
        first = float(probability) if int(index) == 0 else 1 - float(probability)
        return [Choice(choices[int(index)], int(index), (first, 1 - first), int(index) == 0)]

    def presence(self, images: Any, phrases: Sequence[str]) -> list[list[float]]:
        """IAA Choose with the question that Ground's check asks."""
        chosen = [self.choose(images, presence_question(phrase), YES_AND_NO)[0] for phrase in phrases]
        return [[choice.probabilities[0] for choice in chosen]]

    def ground(self, images: Any, phrases: Sequence[str], *, check: bool = False) -> list[list[Detection]]:
        """IAA Ground."""
        return self._boxes(images, node("IAA_Ground", phrases="\n".join(phrases), check="ask" if check else "off"))

    def label(self, images: Any) -> list[list[Detection]]:
        """IAA Label Everything."""
        return self._boxes(images, node("IAA_LabelImage"))

    def caption_boxes(self, images: Any, boxes: Sequence[dict[str, Any]]) -> list[list[str]]:
        """IAA Caption Boxes."""
        return [self._ask(images, node("IAA_CaptionBoxes", bboxes={"__value__": boxes}), 1)]

    def _boxes(self, image: Image.Image, asked: dict[str, Any]) -> list[list[Detection]]:
        (text,) = self._ask(image, asked, 3)
        return [[Detection(**box) for box in own] for own in json.loads(text)]

    def _ask(self, image: Image.Image, asked: dict[str, Any], output: int) -> list[str]:
        """What an output of a node says of a picture."""
        graph = {
            "picture": node("LoadImage", image=self._client.upload("scene.png", image)),
            "loader": node("IAA_Loader", checkpoint="demo (coloured shapes)", precision="fp32"),
            "asked": asked | {"inputs": asked["inputs"] | {"model": ["loader", 0], "image": ["picture", 0]}},
            "shown": node("PreviewAny", source=["asked", output]),
        }
        run = self._client.run(graph)
        if run.status != "success":
            raise RuntimeError(run.error)
        return list(run.outputs["shown"]["text"])


def main() -> None:
    """Prints a row a measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=40)
    options = parser.parse_args()
    comfyui = find_comfyui(PROJECT)
    if comfyui is None:
        parser.error("No ComfyUI was found. Set COMFYUI_PATH.")
    here = evaluate_asking(IAAPipeline.from_pretrained(dtype=torch.float32), options.scenes).report()
    with tempfile.TemporaryDirectory() as base:
        link_pack(PROJECT, Path(base))
        with running(comfyui, Path(base)) as server:
            there = evaluate_asking(InComfyUI(server.client), options.scenes).report()
    print(f"| {options.scenes} scenes | Python | ComfyUI |\n|---|---:|---:|")
    for name, value in here.items():
        print(f"| {name} | {value:.3f} | {there[name]:.3f} |")


if __name__ == "__main__":
    main()
