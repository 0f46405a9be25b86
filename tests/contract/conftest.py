"""One ComfyUI for all contract tests, with every node pack at hand whose formats we claim to speak."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfyui_server import PACK, Client, Graph, Run, Server, find_comfyui, link_pack, node, running
from make_checkpoint import make_checkpoint
from PIL import Image

PROJECT = Path(__file__).parents[2]
PACKS = ("ComfyUI-KJNodes", "ComfyUI-segment-anything-2", "ComfyUI-Impact-Pack", "ComfyUI_LayerStyle_Advance")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test here, so that ``-m "not comfy"`` leaves them out."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("comfy")


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """ComfyUI's folder."""
    found = find_comfyui(PROJECT)
    if found is None:
        pytest.skip("NO COMFYUI: contracts go untested. Set COMFYUI_PATH to one that has its requirements installed.")
    return found


@pytest.fixture(scope="session")
def packs(comfyui: Path) -> dict[str, Path]:
    """The packs of ``PACKS`` that are checked out in ComfyUI's custom_nodes: name -> folder."""
    folders = [folder for folder in (comfyui / "custom_nodes").iterdir() if (folder / "__init__.py").is_file()]
    named = {re.sub(r"[^a-z0-9]", "", folder.name.lower()): folder for folder in folders}
    found = {name: named.get(re.sub(r"[^a-z0-9]", "", name.lower())) for name in PACKS}
    return {name: folder for name, folder in found.items() if folder is not None}


@pytest.fixture(scope="session")
def server(comfyui: Path, packs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A ComfyUI with this checkout, the packs found, and the checkpoint ``tiny`` of random weights."""
    base = tmp_path_factory.mktemp("comfyui")
    link_pack(PROJECT, base)
    for name, folder in packs.items():
        (base / "custom_nodes" / name).symlink_to(folder.resolve(), target_is_directory=True)
    make_checkpoint(base / "models" / "iaa" / "tiny")
    with running(comfyui, base, "--whitelist-custom-nodes", PACK, *packs) as started:
        yield started


@pytest.fixture(scope="session")
def client(server: Server) -> Client:
    """Talks to the server."""
    return server.client


@pytest.fixture
def needs(server: Server, packs: dict[str, Path]) -> Callable[[str, str], None]:
    """``needs(pack, node)`` skips where the pack is not installed, and fails where it is but does not start."""

    def check(pack: str, kind: str) -> None:
        if pack not in packs:
            pytest.skip(f"NOT TESTED: {pack} is not in ComfyUI's custom_nodes")
        assert kind in server.client.get_json("/object_info"), f"{pack} does not start:\n{server.log[-3000:]}"

    return check


class Bench:
    """Makes graphs of boxes and pictures, and reads what came out."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def needs_core(self, kind: str, name: str) -> None:
        """Skips where ComfyUI is too old for the core node ``kind`` with the input ``name``."""
        offered = self.client.get_json("/object_info").get(kind, {"input": {}})["input"]
        if not any(name in inputs for inputs in offered.values()):
            pytest.skip(f"NOT TESTED: this ComfyUI has no {kind} with {name}")

    def picture(self, name: str, size: tuple[int, int], channels: int = 3) -> np.ndarray:
        """Uploads noise, different in every pixel; returns it as (H, W, channels) uint8."""
        seed = int.from_bytes(name.encode(), "big") % 2**32
        levels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
        self.client.upload(name, Image.fromarray(levels))
        return levels

    def batch(self, *names: str) -> Graph:
        """Nodes that load uploaded pictures into one batch, ``["batch", 0]``."""
        graph = {f"load{i}": node("LoadImage", image=name) for i, name in enumerate(names)}
        graph["pictures"] = node("CreateList", **{f"inputs.input{i}": [f"load{i}", 0] for i in range(len(names))})
        return graph | {"batch": node("RebatchImages", images=["pictures", 0], batch_size=64)}

    def boxes(self, boxes: Any) -> Graph:
        """Nodes that turn JSON into a BOUNDING_BOX, ``["boxes", 0]``."""
        text = node("PrimitiveStringMultiline", value=json.dumps(boxes))
        return {"text": text, "boxes": node("IAA_ConvertBoxes", boxes=["text", 0])}

    def run(self, graph: Graph) -> Run:
        """Runs a graph that must succeed."""
        done = self.client.run(graph)
        assert done.status == "success", done.error
        return done

    def value(self, done: Run, name: str) -> Any:
        """What PreviewAny showed, as JSON; a list of several values where the node ran several times."""
        shown = [json.loads(text) for text in done.outputs[name]["text"]]
        return shown[0] if len(shown) == 1 else shown

    def images(self, done: Run, name: str) -> list[np.ndarray]:
        """What PreviewImage or MaskPreview showed, (H, W, 3) uint8 each."""
        return [np.array(self.client.image(shown).convert("RGB")) for shown in done.outputs[name]["images"]]


@pytest.fixture
def bench(client: Client) -> Bench:
    """For graphs of boxes and pictures."""
    return Bench(client)
