"""One ComfyUI for all tests of the nodes, and the checkpoints that it finds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comfyui_server import PACK, Client, Server, find_comfyui, link_pack, run_inside, running
from make_adaptor import write_random
from make_checkpoint import Geometry, make_checkpoint

from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT, Checkpoint
from iaa_runtime.export.convert import convert
from iaa_runtime.model.linear.kinds import PRECISIONS

PROJECT = Path(__file__).parents[2]
INSIDE = Path(__file__).parent / "inside"
NO_COMFYUI = "NO COMFYUI WAS FOUND, so the nodes are untested: set COMFYUI_PATH to one that can run."
GIGABYTE = Geometry(
    hidden_size=1024,
    intermediate_size=4096,
    layers=10,
    heads=16,
    kv_heads=8,
    context=2048,
    insert_layers=(0, 3, 6, 9),
    vision_size=256,
    vision_mlp=1024,
    vision_heads=4,
    image_size=112,
)
"""About 1.1 GB in 32 bit, with proportions like the published checkpoint's: base, MM and G of like size."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests that need a ComfyUI (``-m "not comfy"`` leaves them out) and skips them where there is none."""
    for item in items:
        if "comfyui" in getattr(item, "fixturenames", ()):
            item.add_marker("comfy")
            if find_comfyui(PROJECT) is None:
                item.add_marker(pytest.mark.skip(reason=NO_COMFYUI))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says in one line whether the nodes were tested."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, ()) if r.when == "call"]
    ran = sum("comfy" in report.keywords for report in reports)
    left_out = terminalreporter.stats.get("skipped", ())
    skipped = sum("comfy" in getattr(report, "keywords", ()) for report in left_out)  # a whole module has none
    if ran:
        terminalreporter.write_sep("-", f"{ran} tests ran against ComfyUI at {find_comfyui(PROJECT)}")
    if skipped and find_comfyui(PROJECT) is None:
        terminalreporter.write_sep("!", f"{skipped} tests did not run. {NO_COMFYUI}", red=True, bold=True)


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """ComfyUI's folder."""
    found = find_comfyui(PROJECT)
    assert found is not None, NO_COMFYUI
    return found


@pytest.fixture(scope="session")
def shared_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder outside ComfyUI: the checkpoint ``sub/tiny``, of random weights, behind a link; and converted.

    And random adaptors, for it and for the demo model.
    """
    folder = tmp_path_factory.mktemp("models")
    (folder / "iaa" / "sub").mkdir(parents=True)
    tiny = make_checkpoint(folder / "elsewhere" / "tiny")
    (folder / "iaa" / "sub" / "tiny").symlink_to(tiny)
    for precision in PRECISIONS:
        convert(Checkpoint(tiny), precision, folder / "iaa" / f"tiny-{precision}")
    for name, checkpoint in (("tiny", tiny), ("demo", DEMO_CHECKPOINT)):
        for task in ("MM", "G"):
            write_random(folder / "iaa_adaptors" / "sub" / f"{name}-{task}.safetensors", checkpoint, task)
    return folder


@pytest.fixture(scope="session")
def server(comfyui: Path, shared_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A ComfyUI with this checkout as its only pack and a checkpoint in an extra model folder."""
    base = tmp_path_factory.mktemp("comfyui")
    link_pack(PROJECT, base)
    paths = base / "extra_model_paths.yaml"
    paths.write_text(f"shared:\n  base_path: {shared_models}\n  iaa: iaa\n  iaa_adaptors: iaa_adaptors\n")
    with running(comfyui, base, "--extra-model-paths-config", str(paths)) as started:
        yield started


@pytest.fixture(scope="module")
def dynamic_client(comfyui: Path, shared_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Talks to a ComfyUI in which layers are lazy, as with dynamic VRAM management, the default on NVIDIA cards."""
    base = tmp_path_factory.mktemp("dynamic")
    link_pack(PROJECT, base)
    (base / "custom_nodes" / "dynamic_vram.py").symlink_to(INSIDE / "dynamic_vram.py")
    paths = base / "extra_model_paths.yaml"
    paths.write_text(f"shared:\n  base_path: {shared_models}\n  iaa: iaa\n  iaa_adaptors: iaa_adaptors\n")
    more = ("--extra-model-paths-config", str(paths), "--whitelist-custom-nodes", PACK, "dynamic_vram.py")
    with running(comfyui, base, *more) as started:
        assert "dynamic VRAM management is forced on" in started.log
        yield started.client


@pytest.fixture(scope="session")
def client(server: Server) -> Client:
    """Talks to the server."""
    return server.client


@pytest.fixture(scope="session")
def pack(comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The pack as ComfyUI's Python sees it: what importing it costs, and its nodes. Users name folders as they like."""
    folder = tmp_path_factory.mktemp("custom.nodes") / "transformers-5 (öffentlich)"
    folder.symlink_to(PROJECT, target_is_directory=True)
    try:
        return dict(run_inside(comfyui, INSIDE / "pack.py", str(folder)))
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def gigabyte(server: Server) -> str:
    """A checkpoint of about 1 GB, by the name that the Loader gives it."""
    make_checkpoint(server.base / "models" / "iaa" / "gigabyte", GIGABYTE, packing="single")
    return "gigabyte"


@pytest.fixture
def trained_demo() -> None:
    """Skips where the demo model's own card says that its answers are not yet to be relied upon."""
    card = json.loads((PROJECT / "iaa_runtime" / "demo_checkpoint" / "measured.json").read_text(encoding="utf-8"))
    if card["single_precision"] < 0.93:
        pytest.skip("THE DEMO MODEL FALLS SHORT OF ITS AIMS (its card): what it says is not held against the truth")
