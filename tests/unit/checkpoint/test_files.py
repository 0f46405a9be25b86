"""Weight files: found in any packing, loaded in any dtype, and the error messages about broken ones."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
import traceback
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from iaa_runtime.checkpoint import formats
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.checkpoint.files import WeightFiles
from iaa_runtime.checkpoint.formats import Target, open_weights
from iaa_runtime.checkpoint.staging import Staging
from iaa_runtime.cli import main
from iaa_runtime.config.small_files import load_json
from iaa_runtime.errors import CheckpointError

TENSORS = {
    "a.weight": torch.arange(35, dtype=torch.float32).reshape(7, 5) / 3,
    "b.bias": torch.tensor([1.5, -2.25]),
    "c.weight": torch.linspace(-1, 1, 24).reshape(2, 3, 4).bfloat16(),
}


@pytest.fixture(params=["model.safetensors", "pytorch_model.bin", "old.bin"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The tensors in a file of either format, or as torch saved them before 1.6."""
    path = tmp_path / request.param
    if path.suffix == ".safetensors":
        save_file(TENSORS, path)
    else:
        torch.save(TENSORS, path, _use_new_zipfile_serialization=path.stem != "old")
    return path


def test_entries_tell_shape_dtype_and_bytes(file: Path) -> None:
    files = WeightFiles.find(file)
    assert sorted(files.names) == sorted(TENSORS)
    entry = files.entries["c.weight"]
    assert entry.shape == (2, 3, 4)
    assert entry.dtype == torch.bfloat16
    assert entry.nbytes == 48


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("chunk", [1, 30, 1 << 20])
def test_loading_converts_every_row(
    file: Path, dtype: torch.dtype, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in (formats._SafetensorsFile, formats._PickledFile):
        monkeypatch.setattr(kind, "chunk_bytes", chunk)
    got = dict(WeightFiles.find(file).load(TENSORS, dtype, "cpu"))
    assert got.keys() == TENSORS.keys()
    for name, tensor in got.items():
        assert torch.equal(tensor, TENSORS[name].to(dtype)), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_transient_tensors_share_one_buffer(file: Path, dtype: torch.dtype) -> None:
    addresses = set()
    count = 0
    for name, tensor in WeightFiles.find(file).load(TENSORS, dtype, "cpu", transient=True):
        assert torch.equal(tensor, TENSORS[name].to(dtype)), name
        if TENSORS[name].dtype != dtype:
            addresses.add(tensor.data_ptr())
        count += 1
    assert count == len(TENSORS)
    assert len(addresses) == 1, "conversions do not share one buffer"


class Copies(TorchDispatchMode):
    """What is copied to the meta device: where it lies, and what it is."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.copy_.default and args[0].is_meta and not args[1].is_meta:
            self.seen.append((args[1].data_ptr(), args[1].clone()))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("staged", [64, 1 << 20])
def test_a_device_gets_few_large_copies_from_two_buffers(
    file: Path, dtype: torch.dtype, staged: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Staging, "nbytes", staged)
    sent = {}
    files = WeightFiles.find(file)
    for name in TENSORS:
        with Copies() as copies:
            ((_, tensor),) = files.load([name], dtype, "meta")
        assert (tensor.device.type, tensor.shape, tensor.dtype) == ("meta", TENSORS[name].shape, dtype)
        sent[name] = copies.seen
    for name, copied in sent.items():
        assert torch.equal(torch.cat([part for _, part in copied]), TENSORS[name].to(dtype).flatten())
        assert len({address for address, _ in copied}) == min(2, len(copied))
        assert all(part.nbytes <= staged for _, part in copied)
        assert len(copied) <= 1 + 2 * TENSORS[name].numel() * 4 // staged


def test_chunks_go_to_a_device_as_stored(file: Path) -> None:
    entry = WeightFiles.find(file).entries["c.weight"]
    with Copies() as copies:
        (chunk,) = formats.open_weights(entry.file).chunks(entry, torch.device("meta"))
    assert (chunk.device.type, chunk.shape, chunk.dtype) == ("meta", (2, 3, 4), torch.bfloat16)
    ((_, copied),) = copies.seen
    assert torch.equal(copied, TENSORS["c.weight"].flatten())


def test_a_file_that_shrinks_while_it_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(TENSORS, path)
    files = WeightFiles.find(path)
    assert files.names
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="ends before its tensors do"):
        dict(files.load(TENSORS, torch.float16, "cpu"))


def test_only_what_is_asked_for_is_yielded(file: Path) -> None:
    assert [name for name, _ in WeightFiles.find(file).load(["b.bias"], torch.float16, "cpu")] == ["b.bias"]


def test_safetensors_go_before_bin(tmp_path: Path) -> None:
    save_file({"new": torch.ones(1)}, tmp_path / "model.safetensors")
    torch.save({"old": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    assert WeightFiles.find(tmp_path).names == ["new"]


def test_an_index_chooses_among_the_files(tmp_path: Path) -> None:
    save_file({"used": torch.ones(1)}, tmp_path / "weights-a.safetensors")
    save_file({"left": torch.ones(1)}, tmp_path / "model-00001-of-00001.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"used": "weights-a.safetensors"}}')
    assert WeightFiles.find(tmp_path).names == ["used"]


def test_an_index_cannot_point_out_of_its_folder(tmp_path: Path) -> None:
    save_file({"secret": torch.ones(1)}, tmp_path / "secret.safetensors")
    inside = tmp_path / "checkpoint"
    inside.mkdir()
    (inside / "model.safetensors.index.json").write_text('{"weight_map": {"secret": "../secret.safetensors"}}')
    with pytest.raises(CheckpointError, match=r"secret\.safetensors"):
        WeightFiles.find(inside)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', '{"weight_map": {"a": [1]}}']
)
def test_a_broken_index_is_named(tmp_path: Path, content: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(content)
    with pytest.raises(CheckpointError, match="is not a weight index") as caught:
        WeightFiles.find(tmp_path)
    assert str(index) in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>\n"])
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        _ = WeightFiles.find(tmp_path).names
    assert f"{tmp_path / name} cannot be read" in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "config.json"])
def test_what_git_left_in_place_of_a_file_is_told(tmp_path: Path, name: str) -> None:
    """Said were its header's bytes, permissions, and to fetch again what a second clone would bring just so."""
    (tmp_path / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n")
    says = rf"^\S*{re.escape(name)} is a Git LFS pointer, not the file\. Run 'git lfs pull' in its folder, or [^.]*\.$"
    with pytest.raises(CheckpointError, match=says):
        _ = load_json(tmp_path / name) if name.endswith(".json") else WeightFiles.find(tmp_path).names


def test_a_header_too_long_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    says = r"^\S+ cannot be read as safetensors \([^()]*\)\. Fetch the file again\.$"
    with pytest.raises(CheckpointError, match=says):
        _ = WeightFiles.find(tmp_path).names


def test_a_file_that_is_gone_is_called_so(file: Path) -> None:
    weights = open_weights(file)
    file.unlink()
    with pytest.raises(CheckpointError, match=rf"^{re.escape(str(file))} is not there any more\. Was its folder moved"):
        list(weights.entries())


def test_a_file_that_goes_while_it_is_read_is_called_so(file: Path) -> None:
    """Of a .bin file was said that it is broken, and to fetch it again."""
    weights = open_weights(file)
    entries = list(weights.entries())
    kept = file.rename(file.with_suffix(".kept"))
    again = open_weights(file)  # which has nothing of it in memory
    with pytest.raises(CheckpointError, match="is not there any more"):
        list(again.load(entries, Target(torch.float32, torch.device("cpu"))))
    kept.rename(file)
    assert list(weights.load(entries, Target(torch.float32, torch.device("cpu"))))


def test_a_bin_file_that_goes_while_it_is_looked_through_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(TENSORS, tmp_path / "pytorch_model.bin")
    reader = torch._C.PyTorchFileReader

    def late(name: str) -> object:
        (tmp_path / "pytorch_model.bin").unlink()
        return reader(name)

    monkeypatch.setattr(torch._C, "PyTorchFileReader", late)
    with pytest.raises(CheckpointError, match="is not there any more"):
        _ = WeightFiles.find(tmp_path).names


def test_a_bin_file_runs_no_code(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "was-run",)

    torch.save({"a": torch.ones(1), "evil": Payload()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot be read"):
        _ = WeightFiles.find(tmp_path).names
    assert not (tmp_path / "was-run").exists()


def test_the_refusal_of_code_does_not_advise_to_run_it(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1), "more": Path("x")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="never opened") as caught:
        _ = WeightFiles.find(tmp_path).names
    shown = "".join(traceback.format_exception(caught.value))  # what ComfyUI logs
    for advice in ("weights_only", "add_safe_globals", "arbitrary code", "trust"):
        assert advice not in str(caught.value)
        assert advice not in "".join(line for line in shown.splitlines() if "torch.load(" not in line)


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 20, 1 << 20)])
def test_a_bin_file_of_tensors_larger_than_it_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    torch.save({"a": torch.zeros(1).expand(shape)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=f"describes tensors of {4 << 40} bytes, and has"):
        _ = WeightFiles.find(tmp_path).names


def test_two_names_of_one_tensor_are_let_through(tmp_path: Path) -> None:
    weight = torch.randn(300, 300)
    torch.save({"a": weight, "b": weight, "c": weight.t()[:2]}, tmp_path / "pytorch_model.bin")
    got = dict(WeightFiles.find(tmp_path).load("abc", torch.float32, "cpu"))
    assert torch.equal(got["b"], weight) and torch.equal(got["c"], weight.t()[:2])


def test_a_packed_bin_file_is_not_unpacked(tmp_path: Path) -> None:
    """Of ten megabytes it could make ten gigabytes."""
    torch.save({"a": torch.zeros(1000)}, tmp_path / "stored.bin")
    with (
        zipfile.ZipFile(tmp_path / "stored.bin") as stored,
        zipfile.ZipFile(tmp_path / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    with pytest.raises(CheckpointError, match="cannot be read"):
        _ = WeightFiles.find(tmp_path).names


@pytest.mark.parametrize("tensor", [torch.zeros(2, device="meta"), torch.zeros(2, 2).to_sparse()], ids=str)
def test_tensors_without_rows_are_refused(tmp_path: Path, tensor: Tensor) -> None:
    torch.save({"a": tensor}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"no table of tensors|cannot be read"):
        _ = WeightFiles.find(tmp_path).names


@pytest.mark.parametrize("content", [{"state_dict": {"a": torch.ones(1)}}, [torch.ones(1)]], ids=str)
def test_a_bin_file_that_is_no_table_of_tensors(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="no table of tensors"):
        _ = WeightFiles.find(tmp_path).names


def test_a_dtype_that_torch_lacks_is_named(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    with pytest.raises(CheckpointError, match=r"a in .*F8_E8M0"):
        _ = WeightFiles.find(tmp_path).names


def test_what_is_no_regular_file_is_no_shard(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model-a-of-b.safetensors")  # to open it would wait for a writer
    (tmp_path / "model-00001-of-00001.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="holds no weights"):
        WeightFiles.find(tmp_path)


def test_a_number_of_shards_that_cannot_be(tmp_path: Path) -> None:
    for number in (1, 2, 7):
        save_file({f"a{number}": torch.ones(1)}, tmp_path / f"model-{number:010}-of-9999999999.safetensors")
    begin = time.monotonic()
    with pytest.raises(
        CheckpointError, match=r"lacks 9999999996 of the 9999999999 shards .*model-0000000003-of"
    ) as caught:
        WeightFiles.find(tmp_path)
    assert time.monotonic() - begin < 1 and len(str(caught.value)) < 1000


@pytest.mark.parametrize(("count", "says"), [(50_000, "lacks 50000 of the 50000"), (1_000_000, "larger than 4 MB")])
def test_an_index_of_very_many_files(tmp_path: Path, count: int, says: str) -> None:
    weight_map = {f"a{number}": f"model-{number}.safetensors" for number in range(count)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    begin = time.process_time()
    with pytest.raises(CheckpointError, match=says) as caught:
        WeightFiles.find(tmp_path)
    assert time.process_time() - begin < 1 and len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "\ud800", "", "..", "/dev/zero", "pipe"])
def test_an_index_that_names_no_file(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match="lacks 1 of the 1 shards"):
        WeightFiles.find(tmp_path)


def test_a_header_of_terabytes_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    os.truncate(file, 1 << 41)
    with pytest.raises(CheckpointError, match=r"model.safetensors cannot be read as safetensors .*16777216"):
        _ = WeightFiles.find(tmp_path).names


def test_views_of_a_file_cost_one_mapping_and_no_memory_of_ours(tmp_path: Path) -> None:
    """Neither by what is read nor by what might be written, which Windows charges to its page file."""
    if not Path("/proc/self/smaps").exists():
        pytest.skip("mappings are told of in /proc")
    save_file({f"layer.{n}": torch.ones(512, 512) for n in range(20)}, tmp_path / "model.safetensors")
    files = WeightFiles.find(tmp_path)
    kept = dict(files.load(files.names, torch.float32, "cpu"))
    assert len(kept) == 20
    assert Path("/proc/self/maps").read_text().count(str(tmp_path)) == 1
    assert sum(float(tensor.sum()) for tensor in kept.values()) == 20 * 512 * 512
    (ours,) = re.findall(rf"^\S+ (\S+) .*{tmp_path}.*\n((?:\w+:.*\n)+)", Path("/proc/self/smaps").read_text(), re.M)
    assert ours[0][:3] == "r--", "a mapping that may be written to is charged as a whole"
    assert re.search(r"^Anonymous: +0 kB$", ours[1], re.M)


def test_small_tensors_may_be_written_to(tmp_path: Path) -> None:
    """Programs change norms and biases in place; of a view that would end the process."""
    save_file(
        {"norm": torch.ones(4096), "none": torch.ones(0, 3), "scale": torch.tensor(2.0)}, tmp_path / "a.safetensors"
    )
    kept = dict(WeightFiles.find(tmp_path / "a.safetensors").load(["norm", "none", "scale"], torch.float32, "cpu"))
    kept["norm"].mul_(3)
    assert kept["norm"].sum() == 3 * 4096 and kept["none"].shape == (0, 3) and kept["scale"] == 2


HOLE = 1 << 36
"""Bytes, 64 GiB, that take no room on the disk."""


def write_with_hole(file: Path, header: dict[str, Any], content: bytes, at: int) -> None:
    """A safetensors file that has a tensor of HOLE bytes, which nobody wants, at byte ``at`` of its content."""
    for about in header.values():
        if about["data_offsets"][0] >= at:
            about["data_offsets"] = [place + HOLE for place in about["data_offsets"]]
    unused = {"dtype": "U8", "shape": [HOLE], "data_offsets": [at, at + HOLE]}
    text = json.dumps(header | {"model.layers.0.self_attn.rotary_emb.inv_freq": unused}).encode()
    with file.open("wb") as written:
        written.write(len(text).to_bytes(8, "little") + text + content[:at])
        written.seek(HOLE, os.SEEK_CUR)
        written.write(content[at:])
        written.truncate(8 + len(text) + len(content) + HOLE)


def run_small(words: list[str], folder: Path, project: Path) -> subprocess.CompletedProcess[str]:
    """Runs Python in an address space of 16 GiB."""
    resource = pytest.importorskip("resource", reason="not on Windows")
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30)),
        capture_output=True,
        text=True,
    )


def test_a_file_larger_than_the_address_space(project: Path, tmp_path: Path) -> None:
    assert main(["demo", "--out", str(tmp_path / "scene")]) == 0
    shutil.copytree(DEMO_CHECKPOINT, tmp_path / "big")
    file = tmp_path / "big" / "model.safetensors"
    length = int.from_bytes(file.read_bytes()[:8], "little")
    header, content = json.loads(file.read_bytes()[8 : 8 + length]), file.read_bytes()[8 + length :]
    del header["__metadata__"]
    write_with_hole(file, header, content, header["model.layers.1.mlp.up_proj.weight"]["data_offsets"][0])
    for words in (["info"], ["caption", "--image", "scene/scene.png", "--dtype", "bf16"]):
        done = run_small(["-m", "iaa_runtime", *words, "--model", "big"], tmp_path, project)
        assert done.returncode == 0, done.stderr


def test_a_file_that_the_system_does_not_map_is_not_called_damaged(project: Path, tmp_path: Path) -> None:
    program = """
import torch
from pathlib import Path
from iaa_runtime.checkpoint.files import WeightFiles
dict(WeightFiles.find(Path("model.safetensors")).load(["a", "b"], torch.uint8, "cpu"))
"""
    size = 2 << 20
    about = {"dtype": "U8", "shape": [size]}
    header = {"a": about | {"data_offsets": [0, size]}, "b": about | {"data_offsets": [size, 2 * size]}}
    write_with_hole(tmp_path / "model.safetensors", header, bytes(2 * size), size)
    done = run_small(["-c", program], tmp_path, project)
    assert "cannot be mapped: the system has no room for its 68.7 GB" in done.stderr
    assert "Fetch" not in done.stderr.splitlines()[-1]


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the system's answer is given for it."""
    save_file(TENSORS, tmp_path / "model.safetensors")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CheckpointError, match=r"cannot be read \(Permission denied\)\. Check its permissions"):
        list(open_weights(tmp_path / "model.safetensors").entries())


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [7, 6]},
        {"shape": [1 << 40, 1 << 40]},
        {"shape": [-7, -5]},
        {"shape": [9] * 400_000},
        {"dtype": "F16"},
        {"data_offsets": [0, 8]},
        {"data_offsets": [8, 148]},
        {"data_offsets": [1 << 62, (1 << 62) + 140]},
        {"data_offsets": ["0", "140"]},
        {"dtype": None},
    ],
    ids=lambda change: str(change)[:40],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a.weight": TENSORS["a.weight"]}, path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["a.weight"] |= change
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        list(open_weights(path).entries())
