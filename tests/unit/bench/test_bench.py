"""The benchmark: its roofline by hand, its pairing of times, and a whole run at the smallest size."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from iaa_runtime import IAAModel
from iaa_runtime.bench.checkpoints import SIZES, write_checkpoint
from iaa_runtime.bench.peak import peak_bytes
from iaa_runtime.bench.roofline import block_parameters, decode_bytes
from iaa_runtime.bench.timing import Clock, interleaved, median_ratio
from iaa_runtime.cli import main
from iaa_runtime.config import BANK_NAMES, Task
from iaa_runtime.generation.memory import FORMATS, weight_bytes


def test_roofline_of_the_full_size() -> None:
    """46 blocks of 218.1M weights; with norm and head, 10.56G weights are read for each token."""
    config = SIZES["full"].config
    block = 4096 * (4096 * 2 + 1024 * 2 + 3 * 14336)
    assert block_parameters(config, Task.MM) == 46 * block
    read = 46 * (block + 2 * 4096) + 4096 + 128256 * 4096
    assert decode_bytes(config, Task.MM, FORMATS["bf16"]) == 2 * read
    assert decode_bytes(config, Task.TEXT, FORMATS["bf16"]) == 2 * (read - 14 * (block + 2 * 4096))
    assert 0.27 < decode_bytes(config, Task.MM, FORMATS["int4"]) / (2 * read) < 0.31


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


def test_what_is_compared_runs_in_turn() -> None:
    order: list[str] = []
    runs = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = interleaved(runs, 3, Clock("cpu", torch.device("cpu")))
    assert order == list("abababab")
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}
    assert median_ratio([1.0, 8.0, 3.0], [2.0, 2.0, 3.0]) == 1.0


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone says how much was resident at most")
def test_the_peak_is_the_most_that_a_run_held() -> None:
    def run() -> None:
        for megabytes in (64, 128, 32):
            torch.ones(megabytes << 18)

    peak = peak_bytes(run, torch.device("cpu"))
    if peak is None:
        pytest.skip("this container keeps /proc to itself")
    assert 120 << 20 < peak < 160 << 20


def test_a_whole_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every part at the smallest size; transformers answers with our tokens."""
    words = ["bench", "--size", "tiny", "--batch", "1", "--batch", "3", "--new-tokens", "6", "--repeats", "1"]
    out = tmp_path / "results" / "tiny.json"
    assert main([*words, "--device", "cpu", "--json", "--out", str(out)]) == 0
    results = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == results
    rows = {row["name"]: row for row in results["rows"]}
    assert all(row["seconds"] > 0 for row in rows.values())
    assert {"load base", "vision x3", "prefill x1", "decode step x3", "caption x3", "ground 8", "text"} < rows.keys()
    for peer in ("eager x1", "static x1", "eager text", "static text"):
        assert rows[f"transformers {peer}"]["identical_tokens"]
    size = SIZES["tiny"]
    assert results["memory"]["weights"] == weight_bytes(size.config, size.vision, Task.MM, FORMATS["fp32"])
    assert results["machine"]["torch"] == torch.__version__
    served = importlib.util.find_spec("vllm") is not None
    assert ("vLLM x1" in rows) == ("vLLM text" in rows) == served
    assert results["notes"] == ([] if served else ["vLLM is not installed here"])


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_run_below_16_bits(capsys: pytest.CaptureFixture[str], precision: str) -> None:
    words = ["bench", "--size", "tiny", "--batch", "1", "--new-tokens", "2", "--repeats", "1", "--peer", "none"]
    assert main([*words, "--device", "cpu", "--dtype", "bf16", "--precision", precision]) == 0
    assert "decode step x1" in capsys.readouterr().out


@pytest.mark.parametrize(("option", "value"), [("--batch", "0"), ("--repeats", "0"), ("--new-tokens", "-1")])
def test_counts_below_one_are_refused(capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    assert main(["bench", "--device", "cpu", option, value]) == 1
    assert f"{option} is {value}" in capsys.readouterr().err


@pytest.mark.gpu
def test_a_run_on_an_accelerator(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "--size", "tiny", "--batch", "1", "--new-tokens", "4", "--repeats", "1"]
    assert main([*words, "--dtype", "fp32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]
