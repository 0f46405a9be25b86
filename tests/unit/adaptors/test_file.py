"""Adaptor files: what is written is what is read, PEFT's names, and files that are not what they say."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from make_adaptor import random_adaptor, write_random
from make_checkpoint import Geometry, make_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from iaa_runtime.adaptors import file as adaptor_file
from iaa_runtime.adaptors.base import adapted_matrices, base_fingerprint
from iaa_runtime.adaptors.file import Adaptor, Pair, phrases_to_name, read_adaptor, write_adaptor
from iaa_runtime.checkpoint.checkpoint import Checkpoint
from iaa_runtime.config import PUBLISHED_INSERT_LAYERS, IAAConfig, Task
from iaa_runtime.errors import AdaptorError, CheckpointError, IAAError, InputError
from iaa_runtime.export.convert import convert

LAYERS = "base_model.model.model.condition_layers"
FIRST = f"{LAYERS}_grounding.0.mlp.up_proj.lora_A.weight"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("adaptors") / "checkpoint")


def same(one: Adaptor, other: Adaptor) -> bool:
    """Whether two adaptors are the same but for the order of their tensors."""
    fields = [field.name for field in dataclasses.fields(Adaptor) if field.name != "pairs"]
    tensors = one.pairs.keys() == other.pairs.keys() and all(
        torch.equal(a, b) and a.dtype == b.dtype
        for name in one.pairs
        for a, b in zip(one.pairs[name], other.pairs[name], strict=True)
    )
    return tensors and all(getattr(one, name) == getattr(other, name) for name in fields)


@pytest.mark.parametrize("task", ["MM", "G"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_what_is_written_is_read(checkpoint: Path, tmp_path: Path, task: str, dtype: torch.dtype) -> None:
    adaptor, file = random_adaptor(checkpoint, task, dtype=dtype), tmp_path / "it.safetensors"
    write_adaptor(file, adaptor)
    read = read_adaptor(file)
    assert same(read, adaptor) and read.digest == adaptor.digest
    read.check_fits(Checkpoint(checkpoint))
    assert os.listdir(tmp_path) == ["it.safetensors"]


def test_a_file_names_no_more_phrases_than_are_read_back(checkpoint: Path, tmp_path: Path) -> None:
    adaptor, file = random_adaptor(checkpoint, "MM"), tmp_path / "it.safetensors"
    for phrases in ([f"{n} \u732b" for n in range(50_000)], [f"{n} " + "\u732b" * 5_000 for n in range(50)], ["a"] * 9):
        named = phrases_to_name(phrases)
        assert named and named == tuple(dict.fromkeys(phrases))[: len(named)]
        write_adaptor(file, dataclasses.replace(adaptor, phrases=named))
        assert read_adaptor(file).phrases == named
    with pytest.raises(AdaptorError, match="characters of itself"):
        write_adaptor(tmp_path / "other.safetensors", dataclasses.replace(adaptor, phrases=("a" * 2_000_000,)))
    assert os.listdir(tmp_path) == ["it.safetensors"]


def test_names_are_those_of_peft_and_metadata_are_texts(checkpoint: Path, tmp_path: Path) -> None:
    for task, layers in (("MM", LAYERS), ("G", f"{LAYERS}_grounding")):
        stored = load_file(write_random(tmp_path / f"{task}.safetensors", checkpoint, task))
        blocks = len(Geometry().insert_layers)
        assert len(stored) == blocks * 7 * 2
        assert all(name.startswith(f"{layers}.") for name in stored)
        assert stored[f"{layers}.2.self_attn.k_proj.lora_A.weight"].shape == (4, 32)
        assert stored[f"{layers}.2.self_attn.k_proj.lora_B.weight"].shape == (16, 4)
    with safe_open(tmp_path / "G.safetensors", "pt") as opened:
        said = opened.metadata()
    assert {name: said[name] for name in ("iaa_adaptor", "task", "rank", "alpha")} == {
        "iaa_adaptor": "1",
        "task": "G",
        "rank": "4",
        "alpha": "8.0",
    }
    assert json.loads(said["phrases"]) == ["the heart"] and json.loads(said["training"])["steps"] == 3


def test_the_published_g_at_rank_16_takes_37_megabytes(reference: Path) -> None:
    config = IAAConfig.from_dict(json.loads((reference / "published_config.json").read_text()))
    matrices = adapted_matrices(config, Task.G)
    assert len(matrices) == 7 * len(PUBLISHED_INSERT_LAYERS)
    assert 36e6 < sum(16 * (outputs + inputs) * 2 for outputs, inputs in matrices.values()) < 37.5e6


# The base -------------------------------------------------------------------------------------------------------------


def test_a_base_is_known_again_in_any_dtype_and_precision(tmp_path: Path) -> None:
    geometry = Geometry(hidden_size=64, intermediate_size=96, heads=2, kv_heads=1)
    source = make_checkpoint(tmp_path / "source", geometry, dtype=torch.bfloat16)
    expected = {task: base_fingerprint(Checkpoint(source), task) for task in (Task.MM, Task.G)}
    assert len(set(expected.values())) == 2
    for precision in ("fp8", "int8", "int4"):
        made = convert(Checkpoint(source), precision, tmp_path / precision, ["G"])
        assert base_fingerprint(Checkpoint(made), Task.G) == expected[Task.G]
        with pytest.raises(CheckpointError, match="bank 'mm'"):
            base_fingerprint(Checkpoint(made), Task.MM)
    widened = tmp_path / "source" / "model.safetensors"
    stored = {name: tensor for f in source.glob("model-*.safetensors") for name, tensor in load_file(f).items()}
    for shard in source.glob("model*.safetensors*"):
        shard.unlink()
    save_file({name: tensor.float() for name, tensor in stored.items()}, widened)
    assert base_fingerprint(Checkpoint(source), Task.G) == expected[Task.G], "the same values in another dtype"
    with pytest.raises(InputError, match="has no adaptors"):
        base_fingerprint(Checkpoint(source), Task.TEXT)


@pytest.mark.parametrize("packing", ["single", "bin", "bin shards"])
def test_a_base_is_known_again_in_any_packing(checkpoint: Path, tmp_path: Path, packing: Any) -> None:
    other = make_checkpoint(tmp_path / "other", packing=packing, tower="none")
    assert base_fingerprint(Checkpoint(other), Task.G) == base_fingerprint(Checkpoint(checkpoint), Task.G)


def test_another_base_or_task_is_refused_with_both_fingerprints(checkpoint: Path, tmp_path: Path) -> None:
    adaptor = random_adaptor(checkpoint, "G")
    other = Checkpoint(make_checkpoint(tmp_path / "other", seed=1))
    with pytest.raises(AdaptorError, match=f"{adaptor.base}.*{base_fingerprint(other, Task.G)}"):
        adaptor.check_fits(other)
    wrong = dataclasses.replace(adaptor, task=Task.MM)
    found = base_fingerprint(Checkpoint(checkpoint), Task.MM)
    with pytest.raises(AdaptorError, match=f"task MM of '{adaptor.base}'.*{found}"):
        wrong.check_fits(Checkpoint(checkpoint))


def test_one_bit_of_a_norm_or_embedding_makes_another_base(checkpoint: Path, tmp_path: Path) -> None:
    expected = base_fingerprint(Checkpoint(checkpoint), Task.G)
    for name in (
        "model.layers.3.input_layernorm.weight",
        "model.norm_condition_grounding.weight",
        "model.condition_layers_grounding.1.post_attention_layernorm.weight",
        "model.embed_tokens_condition_grounding.weight",
    ):
        folder = make_checkpoint(tmp_path / name, packing="single", tower="none")
        stored = load_file(folder / "model.safetensors")
        stored[name].view(-1)[0] *= 1.001
        save_file(stored, folder / "model.safetensors")
        assert base_fingerprint(Checkpoint(folder), Task.G) != expected, name


# What is no adaptor ---------------------------------------------------------------------------------------------------


def rewritten(checkpoint: Path, file: Path, change: Callable[[dict[str, Any], dict[str, str]], None]) -> Path:
    """An adaptor's file with its tensors and metadata changed."""
    write_random(file, checkpoint, "G")
    with safe_open(file, "pt") as opened:
        said, tensors = dict(opened.metadata()), load_file(file)
    change(tensors, said)
    save_file(tensors, file, said)
    return file


def put(**values: str) -> Callable[[dict[str, Any], dict[str, str]], None]:
    return lambda tensors, said: said.update(values)


def tensor(name: str, value: torch.Tensor) -> Callable[[dict[str, Any], dict[str, str]], None]:
    return lambda tensors, said: tensors.update({name: value})


NAN = torch.full((4, 32), float("nan"))
HOSTILE: dict[str, tuple[Callable[[dict[str, Any], dict[str, str]], None], str]] = {
    "no metadata of ours": (lambda tensors, said: said.pop("iaa_adaptor") and None, "no adaptor of IAA"),
    "another version": (put(iaa_adaptor="2"), "version '2' of the adaptor format"),
    "a task that is none": (put(task="X"), "cannot be meant"),
    "the task without adaptors": (put(task="Text"), "cannot be meant"),
    "the other task": (put(task="MM"), "not half of an update of task MM"),
    "a rank of no number": (put(rank="many"), "cannot be meant"),
    "a huge rank": (put(rank="9" * 5000), "cannot be meant"),
    "another rank": (put(rank="8"), "has not the rank 8"),
    "alpha of infinity": (put(alpha="inf"), "cannot be meant"),
    "phrases that are none": (put(phrases='{"a": 1}'), "cannot be meant"),
    "deep metadata": (put(training="[" * 100_000), "cannot be meant"),
    "metadata of megabytes": (put(training=json.dumps({"a": "x" * (2 << 20)})), "more of itself"),
    "no base": (lambda tensors, said: said.pop("base") and None, "cannot be meant"),
    "half an update": (lambda tensors, said: tensors.pop(FIRST) is None or None, "not half of an update"),
    "a stranger": (tensor("weights", torch.zeros(4, 4)), "'weights', which is not half"),
    "whole numbers": (tensor(FIRST, torch.zeros(4, 32, dtype=torch.int32)), "not in 16 or 32 bits"),
    "another shape": (tensor(FIRST, torch.zeros(32, 4)), "has not the rank 4"),
    "a vector": (tensor(FIRST, torch.zeros(4)), "has not the rank 4"),
    "nothing": (lambda tensors, said: tensors.clear(), "holds no update"),
    "NaN": (tensor(FIRST, NAN), "that are none"),
    "infinity": (tensor(FIRST, NAN.nan_to_num(float("inf"))), "that are none"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_that_is_not_what_it_says_is_refused(checkpoint: Path, tmp_path: Path, kind: str) -> None:
    change, problem = HOSTILE[kind]
    file = rewritten(checkpoint, tmp_path / "it.safetensors", change)
    with pytest.raises(AdaptorError, match=problem) as caught:
        read_adaptor(file)
    assert len(str(caught.value)) < 600 and str(file) in str(caught.value)


def test_updates_of_other_sizes_than_the_model_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    for name, value, problem in (
        (FIRST, torch.zeros(4, 31), "updates layers.0.mlp.up_proj as a matrix of 56 by 31.*it has 56 by 32"),
        (FIRST.replace(".0.", ".9."), torch.zeros(4, 32), "layers.9.mlp.up_proj.*there is none"),
        (FIRST.replace("up_proj", "x/../up"), torch.zeros(4, 32), "there is none"),
    ):

        def change(tensors: dict[str, Any], said: dict[str, str], name: str = name, value: Any = value) -> None:
            tensors |= {name: value, name.replace("lora_A", "lora_B"): torch.zeros(56, 4)}

        adaptor = read_adaptor(rewritten(checkpoint, tmp_path / "it.safetensors", change))
        with pytest.raises(AdaptorError, match=problem):
            adaptor.check_fits(Checkpoint(checkpoint))


def test_files_that_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    pipe, other = tmp_path / "pipe.safetensors", tmp_path / "it.bin"
    other.write_bytes(b"x")
    os.mkfifo(pipe)  # whoever opens it waits for ever
    for path in (tmp_path / "none.safetensors", tmp_path, pipe, Path("a\0b.safetensors")):
        with pytest.raises(AdaptorError, match=r"no adaptor file|cannot be opened"):
            read_adaptor(path)
    with pytest.raises(AdaptorError, match=r"end in \.safetensors"):
        read_adaptor(other)
    for content in (b"", b"\xff" * 9, (1 << 40).to_bytes(8, "little"), (2).to_bytes(8, "little") + b"[]"):
        broken = tmp_path / "broken.safetensors"
        broken.write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
            read_adaptor(broken)
    written = write_random(tmp_path / "it.safetensors", checkpoint, "G")
    whole = written.read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 30):
        written.write_bytes(whole[:size])
        with pytest.raises(IAAError, match="cannot be read as safetensors"):
            read_adaptor(written)
    written.write_bytes(whole)
    monkeypatch.setattr(adaptor_file, "LARGEST_FILE", len(whole) - 1)
    with pytest.raises(AdaptorError, match="which no adaptor has"):
        read_adaptor(written)


def test_nothing_is_written_of_what_could_not_be_read(checkpoint: Path, tmp_path: Path) -> None:
    adaptor = random_adaptor(checkpoint, "G")
    name = next(iter(adaptor.pairs))
    for pair, problem in (
        (Pair(adaptor.pairs[name].a * float("nan"), adaptor.pairs[name].b), "that are none"),
        (Pair(adaptor.pairs[name].a[:2], adaptor.pairs[name].b), "not of rank 4"),
    ):
        with pytest.raises(AdaptorError, match=problem):
            write_adaptor(tmp_path / "it.safetensors", dataclasses.replace(adaptor, pairs={name: pair}))
    with pytest.raises(InputError, match="cannot be written"):
        write_adaptor(tmp_path / "nowhere" / "it.safetensors", adaptor)
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_in_use_may_be_taught_anew(checkpoint: Path, tmp_path: Path) -> None:
    file = write_random(tmp_path / "it.safetensors", checkpoint, "G")
    read = read_adaptor(file)
    before = {name: pair.a.clone() for name, pair in read.pairs.items()}
    write_random(file, checkpoint, "G", seed=1)
    with file.open("r+b") as opened:
        opened.truncate(100)
    assert all(torch.equal(read.pairs[name].a, a) for name, a in before.items())
