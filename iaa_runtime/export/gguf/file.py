"""A GGUF file, written tensor by tensor: no more than one of them is held."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import CheckpointError, InputError

TYPES = ("f32", "f16", "q8_0", "q4_0")
"""Of the matrices, from the largest to the smallest; q8_0 and q4_0 have a scale for each 32 weights of a row."""

BLOCK = 32
"""Weights in a row that share a scale."""


@dataclass(frozen=True)
class GgufTensor:
    """A tensor to be written, whose values are made only then.

    Attributes:
        title: its name in the file.
        shape: of the tensor, as torch has it.
        type: one of ``TYPES``.
        make: gives the values, of any dtype.
    """

    title: str
    shape: tuple[int, ...]
    type: str
    make: Callable[[], Tensor]


def import_gguf() -> Any:
    """The package ``gguf``; raises :class:`InputError` where it is not installed."""
    try:
        import gguf
    except ImportError as error:
        raise InputError(
            "GGUF files are written by the package gguf, which is not installed. Install it with: pip install gguf."
        ) from error
    return gguf


def matrix_type(shape: tuple[int, ...], wanted: str) -> str:
    """The type that a tensor of this shape takes: vectors stay f32, and rows that no scales divide evenly are f16."""
    if len(shape) == 1:
        return "f32"
    return "f16" if wanted.startswith("q") and shape[-1] % BLOCK else wanted


def write_gguf(file: Path, architecture: str, describe: Callable[[Any], None], tensors: Iterable[GgufTensor]) -> None:
    """Writes a file.

    Args:
        file: to write.
        architecture: llama.cpp's name of it.
        describe: adds the settings to a ``gguf.GGUFWriter``.
        tensors: what follows them, in this order.

    Raises:
        CheckpointError: a weight is too large for its type.
        InputError: there is no package ``gguf``.
    """
    gguf = import_gguf()
    import numpy as np

    tensors = list(tensors)
    writer = gguf.GGUFWriter(file, architecture)
    try:
        describe(writer)
        for tensor in tensors:
            kind = gguf.GGMLQuantizationType[tensor.type.upper()]
            plain = tensor.type in ("f32", "f16")
            shape = tensor.shape if plain else gguf.quant_shape_to_byte_shape(tensor.shape, kind)
            dtype: np.dtype[Any] = np.dtype(f"float{tensor.type[1:]}" if plain else "uint8")
            writer.add_tensor_info(
                tensor.title, shape, dtype, dtype.itemsize * torch.Size(shape).numel(), raw_dtype=kind
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in tensors:
            kind = gguf.GGMLQuantizationType[tensor.type.upper()]
            values = tensor.make().float()
            if tensor.type == "f16" and values.abs().max() > torch.finfo(torch.float16).max:
                raise CheckpointError(f"{tensor.title} holds weights beyond what f16 can. Write it as f32.")
            writer.write_tensor_data(gguf.quantize(values.numpy(), kind))
    except OSError as error:
        if type(error) is OSError and error.errno is None:  # numpy's, of a file that took fewer bytes than it was given
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from error
        raise
    finally:
        writer.close()
