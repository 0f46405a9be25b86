"""Lists and shards in parquet, through pyarrow, an optional package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..jobs.files import open_input, write_atomically
from ..jobs.job import Row

_ROWS = 1024
_MOST_BYTES = 1 << 26
"""Of ``_ROWS`` rows, once they are unpacked: a list that names one long text a thousand times has hardly any itself."""
_MOST_PACKED = 100
"""How many values may lie in one byte of the file; each picture has a name of its own."""


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise InputError(
            "Parquet needs pyarrow, which is not installed. Install it with: pip install pyarrow; or use JSON lines."
        ) from None
    return pyarrow, parquet


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """Yields the rows of a parquet file with their numbers, from 1; holds about a thousand in memory.

    Args:
        path: the file.
        columns: the columns to read; absent ones are left out. Without the first one there is a single row, in which
            all columns of the file are None, so that a message can name them.

    Raises:
        InputError: pyarrow is not installed, or the file is not parquet.
    """
    pyarrow, parquet = _pyarrow()
    number = 0
    try:
        with open_input(path) as opened, parquet.ParquetFile(opened) as whole:
            _check_counts(whole, path)
            leaves = [whole.schema.column(leaf) for leaf in range(len(whole.schema))]
            # Texts stay numbers of a dictionary until they are known to be few.
            texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
            file = parquet.ParquetFile(opened, metadata=whole.metadata, read_dictionary=texts)
            names = file.schema_arrow.names
            if columns[0] not in names:
                yield 1, dict.fromkeys(names)
                return
            for batch in file.iter_batches(_ROWS, columns=[name for name in columns if name in names]):
                if (size := sum(map(_unpacked, batch.columns))) > _MOST_BYTES:
                    raise InputError(
                        f"{path} unpacks to {size} bytes in {len(batch)} rows, {_MOST_BYTES} are the most. Make a list "
                        "of nothing but names, phrases and ids."
                    )
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except InputError:
        raise
    except (OSError, ValueError, pyarrow.ArrowException) as error:  # texts in it may be no UTF-8
        raise InputError(f"{path} cannot be read as parquet ({error}). Check the file.") from error


def _check_counts(file: Any, path: Path) -> None:
    """Raises :class:`InputError` for a file that promises more than can lie in it, by its own account."""
    size, about = path.stat().st_size, file.metadata
    groups = [about.row_group(group) for group in range(about.num_row_groups)]
    chunks = [group.column(column) for group in groups for column in range(group.num_columns)]
    most = max([about.num_rows, *(chunk.num_values for chunk in chunks)])
    unpacked = max((chunk.total_uncompressed_size for chunk in chunks), default=0)
    widest = max((file.schema.column(leaf).length or 0 for leaf in range(len(file.schema))), default=0)
    if most > _MOST_PACKED * size or unpacked > max(_MOST_BYTES, 1000 * size) or widest > size:
        raise InputError(
            f"{path} has {size} bytes, and promises columns of {most} values and {unpacked} bytes. Check the file, or "
            "use JSON lines."
        )


def _unpacked(array: Any) -> int:
    """About how many bytes a column takes as Python's values, whose texts are numbers of a dictionary yet."""
    from pyarrow import compute, types

    if types.is_dictionary(array.type):
        lengths = compute.binary_length(array.dictionary)
        return 8 * len(array) + (compute.sum(lengths.take(array.indices)).as_py() or 0)
    if types.is_list(array.type) or types.is_large_list(array.type):
        return 8 * len(array) + _unpacked(array.flatten())
    if types.is_struct(array.type):
        return 8 * len(array) + sum(map(_unpacked, array.flatten()))
    return int(array.nbytes)


class Parquet:
    """Shards of annotations in parquet, with the same schema for all settings."""

    suffix = ".parquet"

    def __init__(self) -> None:
        pa, _ = _pyarrow()
        box = [(name, pa.int32()) for name in ("x", "y", "width", "height")]
        detection = pa.struct([*box, ("label", pa.string()), ("score", pa.float64())])
        self._schema = pa.schema(
            [
                ("image", pa.string()),
                ("id", pa.string()),
                ("width", pa.int32()),
                ("height", pa.int32()),
                ("caption", pa.string()),
                ("phrases", pa.list_(pa.string())),
                ("detections", pa.list_(detection)),
                ("error", pa.string()),
            ]
        )

    def write(self, path: Path, records: list[Row]) -> None:
        """Writes a shard, whole or not at all; null stands for keys that a record lacks."""
        pa, parquet = _pyarrow()
        table = pa.Table.from_pylist([_valid(record) for record in records], schema=self._schema)
        write_atomically(path, lambda file: parquet.write_table(table, file), overwrite=True)

    def read(self, path: Path) -> Iterator[Row]:
        """Yields a shard's records as they were written."""
        for _, row in read_rows(path, self._schema.names):
            yield {name: value for name, value in row.items() if value is not None}


def _valid(record: Row) -> Row:
    """The record with texts that are valid Unicode, as parquet demands; names of old file systems need not be."""
    return {
        name: value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
        for name, value in record.items()
    }
