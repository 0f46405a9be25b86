"""Gives every input of every node everything; tells what each takes."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import bring_up
import torch

pack, _ = bring_up.load_pack()
check_input, InputError = pack.nodes.inputs.check_input, pack.iaa_runtime.errors.InputError

VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "1": 1,
    "0.5": 0.5,
    "400 digits": 10**400,
    "5000 digits": 10**5000,
    "NaN": math.nan,
    "infinity": math.inf,
    "text": "a word",
    "no text": "",
    "a list of text": ["a word"],
    "an empty list": [],
    "a dict": {"a": 1},
    "an image": torch.zeros(1, 4, 5, 3),
    "an image of rank 3": torch.zeros(4, 5, 3),
    "an image of rank 5": torch.zeros(1, 1, 4, 5, 3),
    "an image of 5 channels": torch.zeros(1, 4, 5, 5),
    "an image of whole numbers": torch.zeros(1, 4, 5, 3, dtype=torch.uint8),
    "an image of 8-bit floats": torch.zeros(1, 4, 5, 3).to(torch.float8_e4m3fn),
    "an image of 16-bit whole numbers": torch.zeros(1, 4, 5, 3, dtype=torch.uint16),
    "an image of NaN": torch.full((1, 4, 5, 3), math.nan),
    "an image without numbers": torch.zeros(1, 4, 5, 3, device="meta"),
    "a sparse image": torch.ones(1, 4, 5, 3).to_sparse(),
    "a nested image": torch.nested.nested_tensor([torch.zeros(4, 5, 3)]),
    "a sparse mask": torch.ones(1, 4, 5).to_sparse(),
    "an image without images": torch.zeros(0, 4, 5, 3),
    "an image without pixels": torch.zeros(1, 0, 5, 3),
    "an image of bfloat16": torch.zeros(1, 4, 5, 3, dtype=torch.bfloat16),
    "a mask": torch.ones(1, 4, 5),
    "a mask of 8-bit floats": torch.ones(1, 4, 5).to(torch.float8_e5m2),
    "a mask of infinity": torch.full((1, 4, 5), math.inf),
    "an object": object(),
    "an object of the same names": [SimpleNamespace(image_size=(4, 5))],
}


def taken(declared: Any) -> list[str]:
    """The values that an input takes, by name."""
    names = []
    for name, value in VALUES.items():
        try:
            check_input(declared, value)
        except InputError as error:
            assert str(error).startswith(repr(declared.id)) and "\n" not in str(error), error
        else:
            may_be_absent = value is None and (declared.optional or declared.lazy)
            names.append("null, as it may be absent" if may_be_absent else name)
    return names


report = []
for cls in pack.nodes.NODES:
    for declared in cls.define_schema().inputs:
        for one in [declared, *(declared.get_all()[1:] if hasattr(declared, "get_all") else [])]:
            kind = one.get_io_type()
            kind = "boxes" if kind.startswith("BOUNDING_BOX,") else kind  # of any kind: read and checked by iaa_runtime
            report.append((f"{cls.__name__}.{one.id}", kind, taken(one)))
print(json.dumps(report))
