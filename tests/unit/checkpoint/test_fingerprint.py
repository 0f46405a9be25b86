"""Checkpoints are told apart by what they compute, not by where they lie."""

from __future__ import annotations

import json
from pathlib import Path

from make_checkpoint import Geometry, make_checkpoint
from safetensors.torch import load_file, save_file

from iaa_runtime.checkpoint.checkpoint import Checkpoint
from iaa_runtime.checkpoint.fingerprint import fingerprint


def test_a_copy_has_the_same_fingerprint(tmp_path: Path) -> None:
    folders = [make_checkpoint(tmp_path / name, Geometry()) for name in ("a", "elsewhere")]
    assert len({fingerprint(Checkpoint(folder)) for folder in folders}) == 1


def test_another_training_run_has_another(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", Geometry(), packing="single")
    known = {fingerprint(Checkpoint(folder))}
    file = folder / "model.safetensors"
    save_file({name: tensor * 1.001 for name, tensor in load_file(file).items()}, file)
    known.add(fingerprint(Checkpoint(folder)))
    file = folder / "clip" / "model.safetensors"
    save_file({name: tensor * 1.001 for name, tensor in load_file(file).items()}, file)
    known.add(fingerprint(Checkpoint(folder)))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-6}))
    known.add(fingerprint(Checkpoint(folder)))
    assert len(known) == 4
