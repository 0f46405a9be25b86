"""Pickles of a kilobyte that keep torch's restricted reader busy for ever, or fill the memory, are not given to it."""

from __future__ import annotations

import io
import pickle
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from iaa_runtime.checkpoint import pickles
from iaa_runtime.checkpoint.files import WeightFiles
from iaa_runtime.checkpoint.pickles import is_tame
from iaa_runtime.errors import CheckpointError

PROTOCOL = b"\x80\x02"
PAIRS = b"h\x01\x86q\x01" * 40
"""Forty times a pair of the last pair: 2^40 tuples to hash, or to spell."""


def collide(count: int) -> bytes:
    """Whole numbers as keys that all have one hash."""
    keys = ((number << 61) - number for number in range(1, count))
    return b"".join(b"\x8a\x0a" + key.to_bytes(10, "little") + b"K\x01s" for key in keys)


HOSTILE = {
    "keys of nested pairs": b"})q\x01" + PAIRS + b"K\x01s.",
    "a storage named by nested pairs": (
        b")q\x01" + PAIRS + b"(X\x07\0\0\0storagectorch\nFloatStorage\nh\x01X\x03\0\0\0cpuK\x01tQ."
    ),
    "a function that is spelled in the error": b"]q\x01" + b"](h\x01h\x01eq\x01" * 40 + b")R.",
    "a byte array for all memory": b"cbuiltins\nbytearray\n\x8a\x05" + (10**11).to_bytes(5, "little") + b"\x85R.",
    "a tensor for all memory": b"ctorch\nFloatTensor\n\x8a\x05" + (10**10).to_bytes(5, "little") + b"\x85R.",
    "keys that collide": b"}" + collide(2000) + b".",
    "a set of nested pairs": b"cbuiltins\nset\n)q\x01" + PAIRS + b"\x85\x85R.",
    "a table made of pairs": b")q\x01" + PAIRS + b"ccollections\nOrderedDict\n]h\x01K\x01\x86a\x85R.",
    "a tuple as the function": b"))R.",
    "nothing on the stack": b"R.",
    "no end": b"}",
}


Pack = Callable[[bytes], bytes]


def zipped(pickled: bytes) -> bytes:
    """A ``.bin`` file of torch's present format with this pickle."""
    whole, changed = io.BytesIO(), io.BytesIO()
    torch.save({}, whole)
    with zipfile.ZipFile(whole) as parts, zipfile.ZipFile(changed, "w") as file:
        for name in parts.namelist():
            file.writestr(name, pickled if name.endswith("data.pkl") else parts.read(name))
    return changed.getvalue()


def old(pickled: bytes) -> bytes:
    """A ``.bin`` file as they were before torch 1.6."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}})
    return b"".join(pickle.dumps(part, 2) for part in head) + pickled + pickle.dumps([], 2)


@pytest.mark.parametrize("pack", [zipped, old])
@pytest.mark.parametrize("pickled", HOSTILE.values(), ids=HOSTILE)
def test_what_no_table_of_tensors_needs_is_not_read(tmp_path: Path, pickled: bytes, pack: Pack) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(pack(PROTOCOL + pickled))
    assert not is_tame(tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"cannot be read as PyTorch weights.*use safetensors"):
        _ = WeightFiles.find(tmp_path).names


@pytest.mark.parametrize("pack", [zipped, old])
def test_a_long_pickle_is_not_read(tmp_path: Path, pack: Pack) -> None:
    file = tmp_path / "pytorch_model.bin"
    longest = PROTOCOL + b"}" + b"X\1\0\0\0aK\1s" * ((pickles.LONGEST - 1000) // 9) + b"."
    file.write_bytes(pack(longest))
    begin = time.process_time()
    assert is_tame(file)
    assert time.process_time() - begin < 10
    file.write_bytes(pack(longest[:-1] + b"X\1\0\0\0aK\1s" * 200 + b"."))
    assert not is_tame(file)


@pytest.mark.parametrize("packed", [True, False])
def test_what_torch_saves_of_a_model_is_read(tmp_path: Path, packed: bool) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    dtypes = (torch.float16, torch.bfloat16, torch.int8, *((torch.float8_e4m3fn,) if packed else ()))
    others = OrderedDict((str(dtype), torch.ones(2, 3, 4).to(dtype)) for dtype in dtypes)
    for number, content in enumerate((model.state_dict(), dict(model.named_parameters()), others)):
        file = tmp_path / f"{number}.bin"
        torch.save(content, file, _use_new_zipfile_serialization=packed)
        assert is_tame(file)
        assert WeightFiles.find(file).names
