"""The benchmark: its roofline by hand, its pairing of times, and a whole run at the smallest size."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from command_line import run_where_nothing_can_be_written

from iaa_runtime import IAAModel
from iaa_runtime.bench import report, roofline
from iaa_runtime.bench.checkpoints import SIZES, kept_checkpoint, write_checkpoint
from iaa_runtime.bench.gguf_file import write_without_vocabulary
from iaa_runtime.bench.llama_cpp import LlamaCpp
from iaa_runtime.bench.peers import missing
from iaa_runtime.bench.roofline import block_parameters, decode_bytes
from iaa_runtime.bench.run import room
from iaa_runtime.bench.timing import Clock, interleaved, median_ratio
from iaa_runtime.cli import main, make_parser
from iaa_runtime.cli.bench import run_settings
from iaa_runtime.config import BANK_NAMES, Task
from iaa_runtime.errors import InputError
from iaa_runtime.generation.memory import FORMATS, weight_bytes
from iaa_runtime.model.banks import bank_bytes


@pytest.mark.parametrize(("copying", "summing", "product", "rate"), [(4, 4, 1, 1), (4, 1, 4, 1), (1, 4, 4, 2)])
def test_the_memory_s_rate_is_the_highest_of_copying_and_reading(
    copying: float, summing: float, product: float, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Told(Clock):
        def time(self, run: Callable[[], object]) -> float:
            out = cast(torch.Tensor, run())
            assert out.device.type == "cpu"
            return {0: summing, 1: copying if out.numel() > 1 << 20 else product, 2: 1}[out.ndim]

    monkeypatch.setattr(roofline, "REPEATS", 1)
    machine = roofline.measure_machine(torch.float32, torch.device("cpu"), Told("wall", torch.device("cpu")))
    assert machine == roofline.Machine(rate * (128 << 20), 2 * 2048**3)


def test_roofline_of_the_full_size() -> None:
    """46 blocks of 218.1M weights; with norm and head, 10.56G weights are read for each token."""
    config = SIZES["full"].config
    block = 4096 * (4096 * 2 + 1024 * 2 + 3 * 14336)
    assert block_parameters(config, Task.MM) == 46 * block
    read = 46 * (block + 2 * 4096) + 4096 + 128256 * 4096
    assert decode_bytes(config, Task.MM, FORMATS["bf16"]) == 2 * read
    assert decode_bytes(config, Task.TEXT, FORMATS["bf16"]) == 2 * (read - 14 * (block + 2 * 4096))
    in_8_bits = 60 * 4096 * (1024 + 4096) + 128256 * 4096  # v_proj, o_proj, 14 adaptors' q_proj and k_proj, the head
    int4 = 4.5 / 8 * (read - in_8_bits) + in_8_bits
    assert decode_bytes(config, Task.MM, FORMATS["int4"]) == pytest.approx(int4, rel=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_written_checkpoint_opens_whole_and_is_seeded(tmp_path: Path, dtype: torch.dtype) -> None:
    first, same, other = (
        write_checkpoint(tmp_path / name, SIZES["tiny"], dtype, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    model = IAAModel.from_pretrained(first)
    model.load()
    assert model.loaded_banks == BANK_NAMES
    logits = model(torch.tensor([[5, 6, -200, 7]]), torch.zeros(1, 3, 56, 56), "G")
    assert logits.isfinite().all()
    assert 0.1 < logits.std() < 10
    content = [(folder / "model-00003-of-00004.safetensors").read_bytes() for folder in (first, same, other)]
    assert content[0] == content[1] != content[2]


def test_a_kept_checkpoint_is_of_the_seed_that_is_asked_for(tmp_path: Path) -> None:
    told: list[str] = []
    first, other = (kept_checkpoint(tmp_path, "tiny", seed, told.append) for seed in (0, 3))
    assert first == tmp_path / "tiny"  # where earlier versions put it
    file = "model-00003-of-00004.safetensors"
    again = write_checkpoint(tmp_path / "again", SIZES["tiny"], torch.bfloat16, 3)
    assert (other / file).read_bytes() == (again / file).read_bytes() != (first / file).read_bytes()
    assert [kept_checkpoint(tmp_path, "tiny", seed, told.append) for seed in (0, 3)] == [first, other]
    assert len(told) == 2


def test_the_wide_size_has_the_published_matrices() -> None:
    """One block is one of the full size; what `iaa bench` writes of it stays below 4 GB."""
    wide, full = SIZES["wide"], SIZES["full"]
    blocks = {size: block_parameters(size.config, Task.MM) // size.config.num_blocks for size in (wide, full)}
    assert blocks[wide] == blocks[full]
    assert wide.config.num_blocks == 6
    assert sum(sum(bank_bytes(b, wide.config, wide.vision, torch.bfloat16).values()) for b in BANK_NAMES) < 4e9


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps"])
def test_a_clock_waits_for_every_kind_of_device(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(getattr(torch, kind), "synchronize", lambda *device: done.append("waited"))
    Clock("wall", torch.device(kind)).time(lambda: done.append("launched"))
    assert done == ["waited", "launched", "waited"]


def test_what_is_compared_runs_in_turn() -> None:
    order: list[str] = []
    runs = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = interleaved(runs, 3, Clock("cpu", torch.device("cpu")))
    assert order == list("abababab")
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}
    assert median_ratio([1.0, 8.0, 3.0], [2.0, 2.0, 3.0]) == 1.0


HOLDING = """
import torch
from iaa_runtime.bench.peak import peak_bytes

def run():
    for megabytes in (64, 128, 32):
        torch.ones(megabytes << 18)

print(peak_bytes(run, torch.device("cpu")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone says how much was resident at most")
def test_the_peak_is_the_most_that_a_run_held(project: Path) -> None:
    """In a process of its own: what other tests left behind, threads and freed memory, would count."""
    words = [sys.executable, "-c", HOLDING]
    peak = subprocess.run(words, cwd=project, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    if peak == "None":
        pytest.skip("this container keeps /proc to itself")
    assert 120 << 20 < int(peak) < 160 << 20


def test_a_whole_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every part at the smallest size; transformers answers with our tokens."""
    words = ["bench", "--size", "tiny", "--batch", "1", "--batch", "3", "--new-tokens", "6", "--repeats", "1"]
    out = tmp_path / "results" / "tiny.json"
    assert main([*words, "--device", "cpu", "--dtype", "fp32", "--json", "--out", str(out)]) == 0
    results = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == results
    rows = {row["name"]: row for row in results["rows"]}
    assert all(row["seconds"] > 0 for row in rows.values())
    assert {"load base", "vision x3", "prefill x1", "decode step x3", "caption x3", "ground 8", "text"} < rows.keys()
    for peer in ("eager x1", "static x1", "eager text", "static text"):
        assert rows[f"transformers {peer}"]["identical_tokens"]
    size, stored = SIZES["tiny"], replace(FORMATS["fp32"], embedding_dtype=torch.bfloat16)
    assert results["memory"]["weights"] == weight_bytes(size.config, size.vision, Task.MM, stored)
    assert results["machine"]["torch"] == torch.__version__
    served = importlib.util.find_spec("vllm") is not None
    assert ("vLLM x1" in rows) == ("vLLM text" in rows) == served
    assert results["notes"] == ([] if served else ["vLLM is not installed here: pip install vllm"])


@pytest.mark.skipif(os.name == "nt", reason="a limit of files that Windows does not have")
def test_figures_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    kept_checkpoint(tmp_path, "tiny", 0, print)
    words = ["bench", "--size", "tiny", "--only", "load", "--folder", str(tmp_path), "--out", str(tmp_path / "a.json")]
    run = run_where_nothing_can_be_written([*words, "--json"])
    assert run.returncode == 1 and "a.json cannot be written (File too large). Free space there" in run.stderr
    assert len(json.loads(run.stdout)["rows"]) == 3 and not (tmp_path / "a.json").exists()
    told = run_where_nothing_can_be_written(["bench", "--size", "tiny", "--folder", str(tmp_path / "new")]).stderr
    assert "choose a place on another disk" in told and "--out" not in told


def test_a_torch_that_is_too_old_for_transformers_is_told_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch 2.5 is for transformers 5.24: everything else is measured."""
    monkeypatch.setattr("transformers.utils.is_torch_available", lambda: False)
    words = ["bench", "--size", "tiny", "--batch", "1", "--new-tokens", "2", "--repeats", "1", "--device", "cpu"]
    assert main([*words, "--dtype", "fp32", "--only", "peers", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    says = f"does not run with torch {torch.__version__}: install a newer torch"
    assert results["notes"][:2] == [f"transformers {name} {says}" for name in ("eager", "static")]
    assert not any("transformers" in row["name"] for row in results["rows"])


def test_precisions_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    """Each beside plain dtypes and, where it is installed, llama.cpp; else a note says how to get that."""
    words = ["bench", "--size", "tiny", "--repeats", "1", "--only", "precisions", "--device", "cpu", "--json"]
    assert main([*words, "--precision", "full", "--precision", "int8"]) == 0
    results = json.loads(capsys.readouterr().out)
    installed = missing("llama.cpp") is None
    theirs = {"llama.cpp Q4_0", "llama.cpp Q8_0"} if installed else set()
    names = {"prefill 640": {"fp32", "bf16", "int8"} | theirs, "decode step x1": {"fp32", "bf16", "int8"} | theirs}
    names["decode step x8"] = {"fp32", "bf16", "int8"}
    rows = {row["name"]: row for row in results["rows"]}
    assert rows.keys() == {f"{what}, {form}" for what, forms in names.items() for form in forms}
    assert rows["prefill 640, int8"]["ratios"].keys() == {"fp32", "bf16"} | theirs
    assert rows["decode step x8, bf16"]["ratios"].keys() == {"fp32"}
    assert rows["decode step x1, int8"]["floor_seconds"] < rows["decode step x1, bf16"]["floor_seconds"]
    assert results["settings"]["precisions"] == ["int8"]
    hint = "llama.cpp is not installed here: pip install llama-cpp-python gguf"
    assert results["notes"] == ([] if installed else [hint])


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0"])
def test_llama_cpp_computes_the_same_stack(tmp_path: Path, kind: str) -> None:
    """The same weights and order of blocks: logits behind a prompt and a step, within what so few bits allow."""
    llama_cpp = pytest.importorskip("llama_cpp")
    pytest.importorskip("gguf")
    model = IAAModel.from_pretrained(write_checkpoint(tmp_path / "model", SIZES["tiny"], torch.float32))
    prompt = list(range(10, 40))
    file = write_without_vocabulary(model.checkpoint, Task.MM, kind, tmp_path / "model.gguf")
    peer = LlamaCpp(file, prompt, 4, torch.device("cpu"))
    peer.prefill()
    peer.decode(2)
    peer.decode(1)  # again right behind the prompt
    exact = model(torch.tensor([[*prompt, prompt[0]]]), task="MM")[0, -1]
    theirs = llama_cpp.llama_get_logits_ith(peer.model.ctx, -1)
    error = (torch.tensor(theirs[: len(exact)]) - exact).norm() / exact.norm()
    assert error < {"Q4_0": 0.4, "Q8_0": 0.05}[kind]  # 0.49 and more where heads are not rearranged


def test_machine_says_what_it_multiplies_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = "processor : 0\nmodel name : A\ncpu family : 6\nmodel : 143\nflags : fpu avx2 amx_int8\n\nmodel name : B\n"
    (tmp_path / "cpuinfo").write_text(words)
    monkeypatch.setattr(report, "CPUINFO", tmp_path / "cpuinfo")
    about = report.describe_machine("cpu")
    assert (about["processor"], about["instructions"]) == ("A (family 6, model 143)", "avx2 amx_int8")
    monkeypatch.setattr(report, "CPUINFO", tmp_path / "nothing")
    assert report.describe_machine("cpu")["instructions"] == torch.backends.cpu.get_cpu_capability().lower()


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_run_below_16_bits(capsys: pytest.CaptureFixture[str], precision: str) -> None:
    words = ["bench", "--size", "tiny", "--batch", "1", "--new-tokens", "2", "--repeats", "1", "--peer", "none"]
    assert main([*words, "--device", "cpu", "--dtype", "bf16", "--precision", precision]) == 0
    assert "decode step x1" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone says how much was resident at most")
def test_the_script_of_the_full_size(tmp_path: Path) -> None:
    """At the smallest size: it builds, converts, answers from both folders, and builds nothing twice."""
    script = Path(__file__).parents[3] / "benchmarks" / "full_size.py"
    command = [sys.executable, str(script), str(tmp_path / "sizes"), "--size", "tiny", "--json", str(tmp_path / "out")]
    subprocess.run([*command, "--precision", "full", "--precision", "int8"], check=True, capture_output=True)
    plain, converted = json.loads((tmp_path / "out").read_text())["rows"]
    assert (plain["convert_seconds"], converted["precision"]) == (0, "int8")
    assert converted["convert_seconds"] > 0
    for row in (plain, converted):
        steps = [row[f"{step}_seconds"] for step in ("vision", "prefill", "decode")]
        assert min(steps) > 0
        assert sum(steps) == pytest.approx(row["answer_seconds"])
        assert row["answer"].startswith("[")
        assert row["peak_bytes"] > 1e8
    again = subprocess.run([*command, "--precision", "int8"], check=True, capture_output=True, text=True)
    assert "writing" not in again.stderr
    assert "converting" not in again.stderr


@pytest.mark.parametrize(("option", "value"), [("--batch", "0"), ("--repeats", "0"), ("--new-tokens", "-1")])
def test_counts_below_one_are_refused(capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "--device", "cpu", option, value])
    assert f"argument {option}: {value} is not from 1 to" in capsys.readouterr().err


@pytest.mark.parametrize("size", SIZES)
def test_captions_fit_into_the_context(size: str) -> None:
    parse = make_parser().parse_args
    tokens = room(size)
    assert run_settings(parse(["bench", "--device", "cpu", "--size", size, "--new-tokens", f"{tokens}"])).size == size
    with pytest.raises(InputError, match=f"--new-tokens is {tokens + 1}.*--size {size} leaves {tokens} "):
        run_settings(parse(["bench", "--device", "cpu", "--size", size, "--new-tokens", f"{tokens + 1}"]))


@pytest.mark.gpu
def test_a_run_on_an_accelerator(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "--size", "tiny", "--batch", "1", "--new-tokens", "4", "--repeats", "1"]
    assert main([*words, "--dtype", "fp32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]
