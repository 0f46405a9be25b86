"""A graph under what Windows refuses (``tests/like_windows``), in a pack folder that browsers cannot address.

Where a disk without case can be had, ComfyUI's folders and the checkpoints lie on it.
"""

from __future__ import annotations

import shutil
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest
from comfyui_server import Server, link_pack, node, running
from disk_without_case import without_case
from PIL import Image

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="simulated on Linux")
NAME = "iaa nodes 1.0"


@pytest.fixture(scope="module", params=[False, True], ids=["open files", "open files, a disk without case"])
def like_windows(
    comfyui: Path,
    project: Path,
    shared_models: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Server]:
    """A ComfyUI that is refused what Windows would refuse it."""
    near = tmp_path_factory.mktemp("windows")
    if not request.param:
        yield from _started(comfyui, project, shared_models, near)
        return
    with without_case(near) as base:
        shutil.copytree(shared_models / "iaa", base / "shared" / "IAA", symlinks=False)
        yield from _started(comfyui, project, base / "shared", base)


def _started(comfyui: Path, project: Path, shared_models: Path, base: Path) -> Iterator[Server]:
    link_pack(project, base, NAME)
    paths = base / "extra_model_paths.yaml"
    paths.write_text(f"shared:\n  base_path: {shared_models}\n  iaa: iaa\n")
    more = ("--whitelist-custom-nodes", NAME, "--extra-model-paths-config", str(paths))
    with running(comfyui, base, *more, python_path=str(project / "tests" / "like_windows")) as started:
        yield started


@pytest.mark.parametrize("checkpoint", ["demo (coloured shapes)", "sub/tiny", "tiny-int4 (int4)"])
def test_a_graph_runs_again_after_unloading(like_windows: Server, checkpoint: str) -> None:
    client = like_windows.client
    graph = {
        "scene": node("IAA_DemoScene", seed=26, width=384, height=256),
        "loader": node("IAA_Loader", checkpoint=checkpoint),
        "caption": node("IAA_Caption", model=["loader", 0], image=["scene", 0], max_new_tokens=8),
        "ground": node("IAA_Ground", model=["loader", 0], image=["scene", 0], phrases="the leftmost shape"),
        "boxes": node("PreviewAny", source=["ground", 3]),
        "saved": node("SaveImage", images=["ground", 2], filename_prefix="found"),
    }
    outputs = []
    for _ in range(2):
        run = client.run(graph)
        assert run.status == "success", run.error
        assert run.executed == set(graph)
        outputs.append([run.outputs[name]["text"] for name in ("caption", "boxes")])
        client.free()
    assert outputs[0] == outputs[1]
    assert all(outputs[0])
    assert "Traceback" not in like_windows.log and "being used" not in like_windows.log


def test_it_is_refused_there(like_windows: Server) -> None:
    with pytest.raises(urllib.error.HTTPError):
        like_windows.client.upload("con.png", Image.new("RGB", (4, 4)))


def test_the_log_says_that_browsers_cannot_address_the_folder(like_windows: Server) -> None:
    assert f"a pack in a folder named {NAME!r}" in like_windows.log
    served = [path for path in like_windows.client.get_json("/extensions") if "iaa" in path]
    assert served
    for path in served:
        with pytest.raises(urllib.error.HTTPError):
            like_windows.client.get(path)
