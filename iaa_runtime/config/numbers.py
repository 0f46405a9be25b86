"""Names of the numbers that a model computes in: dtypes, and precisions of its large matrices below 16 bits."""

from __future__ import annotations

from typing import Literal, get_args

DtypeName = Literal["fp32", "bf16", "fp16"]
PrecisionName = Literal["fp8", "int8", "int4"]

DTYPE_NAMES: tuple[DtypeName, ...] = get_args(DtypeName)
PRECISIONS: tuple[PrecisionName, ...] = get_args(PrecisionName)
