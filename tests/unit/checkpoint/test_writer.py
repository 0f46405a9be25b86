"""The writer: safetensors' own library reads what it wrote, values are made one by one, and nothing is half written."""

from __future__ import annotations

import errno
import gc
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from iaa_runtime.checkpoint import writer
from iaa_runtime.checkpoint.formats import SAFETENSORS_DTYPES
from iaa_runtime.checkpoint.writer import MARKER, LazyTensor, new_folder, write_file, write_json, write_shards
from iaa_runtime.config.small_files import load_json
from iaa_runtime.errors import InputError


def in_memory(tensors: dict[str, Tensor]) -> dict[str, LazyTensor]:
    return {name: LazyTensor.of(tensor, tensor.dtype) for name, tensor in tensors.items()}


def test_every_dtype_and_shape_comes_back(tmp_path: Path) -> None:
    tensors = {name: torch.ones(3, 5).to(dtype) for name, dtype in SAFETENSORS_DTYPES.items()}
    tensors |= {"scalar": torch.tensor(2.5), "none": torch.zeros(0, 4), "view": torch.arange(6.0).view(2, 3).T}
    write_file(tmp_path / "model.safetensors", in_memory(tensors))
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].float(), tensor.float())
    with safe_open(tmp_path / "model.safetensors", "pt") as opened:
        assert opened.metadata() == {"format": "pt"}


def test_every_tensor_is_aligned(tmp_path: Path) -> None:
    write_file(
        tmp_path / "a",
        in_memory({"half": torch.ones(3).bfloat16(), "byte": torch.ones(1).bool(), "full": torch.ones(2)}),
    )
    content = (tmp_path / "a").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    starts = {name: header[name]["data_offsets"][0] for name in ("half", "byte", "full")}
    assert length % 8 == starts["full"] % 4 == starts["half"] % 2 == 0


def test_one_chunk_is_held_at_a_time(tmp_path: Path) -> None:
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()

    def chunks() -> Iterator[Tensor]:
        for _ in range(5):
            gc.collect()
            assert len(alive) <= 1  # the loop's own
            chunk = torch.ones(2, 3)
            alive.add(chunk)
            yield chunk

    write_file(tmp_path / "a", {name: LazyTensor((10, 3), torch.bfloat16, chunks) for name in "xy"})
    assert torch.equal(load_file(tmp_path / "a")["y"], torch.ones(10, 3).bfloat16())


def test_shards_are_bounded_and_indexed(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(10), "b": torch.ones(10), "large": torch.ones(100), "c": torch.ones(1)}
    written: list[str] = []
    write_shards(tmp_path, in_memory(tensors), 80, written.append)
    assert written == [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    assert [sorted(load_file(tmp_path / file)) for file in written] == [["a", "b"], ["large"], ["c"]]
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index == {
        "metadata": {"total_size": 4 * 121},
        "weight_map": dict(zip(tensors, [written[0], *written], strict=True)),
    }


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    write_file(tmp_path / "a", in_memory({"x": torch.ones(1)}))

    def fail() -> Iterator[Tensor]:
        yield torch.zeros(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "a", {"x": LazyTensor((2,), torch.float32, fail)})
    with pytest.raises(AssertionError, match="x has another size"):
        write_file(tmp_path / "a", {"x": LazyTensor((2,), torch.float32, lambda: [torch.zeros(1)])})
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert load_file(tmp_path / "a") == {"x": torch.ones(1)}


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with new_folder(tmp_path / "out") as folder:
        (folder / "file").touch()
        assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "file"]


def test_an_empty_folder_gives_way_and_is_there_again_if_it_fails(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(KeyboardInterrupt), new_folder(out):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with new_folder(out) as folder:
        (folder / "file").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "file"]


def test_the_folder_that_one_is_in_cannot_give_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    for out in (Path(), tmp_path / "out"):
        with (
            pytest.raises(InputError, match=r"no other folder can take its place .* Name a folder in it"),
            new_folder(out),
        ):
            pytest.fail("it is refused before anything is written")
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]


def test_a_disk_that_is_mounted_cannot_give_way(tmp_path: Path, project: Path) -> None:
    (tmp_path / "out").mkdir()
    code = (
        "import sys; from pathlib import Path; from iaa_runtime.checkpoint.writer import new_folder\n"
        "with new_folder(Path(sys.argv[1])): print('written')"
    )
    mounted = f'mount -t tmpfs none "{tmp_path}/out" && exec "$@"'
    path = os.pathsep.join(filter(None, [str(project), os.environ.get("PYTHONPATH", "")]))
    words = ["unshare", "-rm", "sh", "-c", mounted, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("NOT TESTED: no disk can be mounted here, which takes unshare and the right to use it.")
    words += [sys.executable, "-c", code, str(tmp_path / "out")]
    done = subprocess.run(words, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode and "no other folder can take its place" in done.stderr and not done.stdout
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]


@pytest.fixture
def left(tmp_path: Path, project: Path) -> Path:
    """What a process that was killed while it wrote ``out`` has left."""
    code = (
        "import os, signal, sys; from pathlib import Path; from iaa_runtime.checkpoint.writer import new_folder\n"
        "with new_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'weights').write_bytes(bytes(1000)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = os.pathsep.join(filter(None, [str(project), os.environ.get("PYTHONPATH", "")]))
    killed = subprocess.run([sys.executable, "-c", code, tmp_path / "out"], env=os.environ | {"PYTHONPATH": path})
    assert killed.returncode == -signal.SIGKILL
    (folder,) = tmp_path.glob("out.partial-*")
    return folder


def test_what_a_killed_process_left_is_named_and_removed(
    left: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with new_folder(tmp_path / "other"):
        assert left.exists()  # another command's
    with new_folder(tmp_path / "out"):
        pass
    assert f"{left} is what a process that was killed has left" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("why", ["runs", "no mark", "another's mark", "another machine", "another name", "a link"])
def test_what_is_not_ours_or_still_written_stays(left: Path, why: str, tmp_path: Path) -> None:
    mark = left / MARKER
    if why == "runs":
        process = os.getppid()
        left = left.rename(tmp_path / f"out.partial-{process}")
        (left / MARKER).write_text(f"{process} {platform.node()}\n")
    elif why == "no mark":
        mark.unlink()
    elif why == "another's mark":
        mark.write_text("mine")
    elif why == "another machine":
        mark.write_text(mark.read_text().replace(platform.node(), "elsewhere"))
    elif why == "another name":
        left = left.rename(tmp_path / "out.partial-thesis")
    else:
        left.rename(tmp_path / "thesis")
        left.symlink_to(tmp_path / "thesis")
    with new_folder(tmp_path / "out"):
        pass
    assert (left / "weights").read_bytes() == bytes(1000)


def test_a_link_is_no_new_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    with pytest.raises(InputError, match="is a link"), new_folder(tmp_path / "out"):
        pytest.fail("it was taken")
    assert list((tmp_path / "real").iterdir()) == [] and (tmp_path / "out").is_symlink()


def test_settings_that_are_no_unicode_are_written_as_they_were(tmp_path: Path) -> None:
    content = {"lone": "\ud800", "name": "猫"}
    write_json(tmp_path / "config.json", content)
    assert load_json(tmp_path / "config.json") == content


def test_another_process_of_the_same_number_stands_in_no_ones_way(left: Path, tmp_path: Path) -> None:
    """In a container every process may be number 1: what has our own number and is not ours is a left-over."""
    mine = left.rename(tmp_path / f"out.partial-0123-{os.getpid()}")
    (mine / MARKER).write_bytes(f"{os.getpid()} {platform.node()}\n".encode())
    (tmp_path / f"it.safetensors.partial-{os.getpid()}").touch()
    with new_folder(tmp_path / "out") as folder:
        assert not mine.exists()
        (folder / "here").touch()
    assert (tmp_path / "out" / "here").exists()


def test_a_folder_that_is_held_for_a_moment_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where a scanner looks at new files; if it never lets go, all that was written is kept."""
    held, rename = [2], Path.rename

    def hold(self: Path, target: Path) -> Path:
        held[0] -= 1
        if held[0] >= 0:
            raise PermissionError(errno.EACCES, "in use")
        return rename(self, target)

    monkeypatch.setattr(writer, "_WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(Path, "rename", hold)
    with new_folder(tmp_path / "out") as folder:
        (folder / "weights").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["weights"]
    held[0] = 1000
    with (
        pytest.raises(InputError, match=r"All is written, but .* cannot be renamed"),
        new_folder(tmp_path / "b") as kept,
    ):
        (kept / "weights").touch()
    assert (kept / "weights").exists() and not (tmp_path / "b").exists()
