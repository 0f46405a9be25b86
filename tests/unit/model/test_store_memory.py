"""Loading takes the memory of the banks and little more, as stored and converted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from make_checkpoint import Geometry, make_checkpoint

from iaa_runtime.config import BANK_NAMES

MEASURED = Geometry(
    hidden_size=512,
    intermediate_size=1792,
    layers=8,
    heads=8,
    kv_heads=2,
    vocab_size=8000,
    insert_layers=(0, 5, 7),
    vision_size=256,
    vision_mlp=1024,
    vision_layers=3,
    vision_heads=8,
)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    ("packing", "stored", "wanted"),
    [
        ("shards", torch.float32, "bf16"),
        ("bin shards", torch.float32, "bf16"),
    ],
    ids=str,
)
def test_peak_memory_is_the_banks_and_at_most_15_percent(
    packing: str, stored: torch.dtype, wanted: str, tmp_path: Path, project: Path
) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", MEASURED, dtype=stored, packing=packing)
    script = [sys.executable, str(project / "benchmarks" / "loading.py"), "--measure"]
    done = subprocess.run([*script, str(folder), ",".join(BANK_NAMES), wanted], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["bank_bytes"] > 1.4e8
    # Every weight has been used by then, so that less would mean that the measurement is wrong.
    assert 0.98 < figures["peak_after_use"] / figures["bank_bytes"] <= 1.15
