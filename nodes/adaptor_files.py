"""Adaptor files: ``models/iaa_adaptors`` and whatever ``extra_model_paths.yaml`` adds under that name."""

from __future__ import annotations

import os
import re
from pathlib import Path

import folder_paths

from ..iaa_runtime.adaptors.file import SUFFIX
from ..iaa_runtime.errors import AdaptorError, InputError, spelled

ADAPTORS = "iaa_adaptors"
"""The key of the folders."""
LONGEST_NAME = 100
"""Bytes: names of files that lie beside the adaptor's are longer, and disks allow 255."""
_NO_NAME = re.compile(
    r"""[\x00-\x1f\x7f"*/:<>?\\|] | ^[. ] | [. ]$ | ^(con|prn|aux|nul|com\d|lpt\d)(\.|$)""", re.IGNORECASE | re.VERBOSE
)
"""What leads to another folder, is hidden, or is the name of no file on some system."""


def own_folder() -> Path:
    """``models/iaa_adaptors``, where what is taught goes."""
    return Path(folder_paths.models_dir, ADAPTORS)


def register_adaptors() -> None:
    """Tells ComfyUI about the folder."""
    folder_paths.add_model_folder_path(ADAPTORS, str(own_folder()))


def find_adaptors() -> list[str]:
    """The adaptor files in every root, by their paths below it."""
    return [name for name in folder_paths.get_filename_list(ADAPTORS) if name.endswith(SUFFIX)]


def adaptor_file(name: str) -> Path:
    """The file of an adaptor that is on offer.

    Raises:
        AdaptorError: it is not here; says where it belongs.
    """
    found = folder_paths.get_full_path(ADAPTORS, name) if name in find_adaptors() else None
    if found is None:
        roots = " or ".join(folder_paths.get_folder_paths(ADAPTORS))
        raise AdaptorError(f"There is no adaptor {spelled(name)}. Put its file ({SUFFIX}) into {roots}.")
    return Path(found)


def as_it_is(file: Path) -> tuple[str, int, int] | None:
    """What changes when a file does, for ComfyUI to compare; None where there is none."""
    try:
        about = file.stat()
    except OSError:
        return None
    return (str(file), about.st_mtime_ns, about.st_size)


def stem_of(name: str) -> str:
    """A new adaptor's name as its file has it, without the suffix."""
    return name.strip().removesuffix(SUFFIX)


def new_adaptor_file(name: str) -> Path:
    """Where an adaptor that is to be taught goes: right into :func:`own_folder`, whatever is there already.

    Args:
        name: of one file, with or without its suffix.

    Raises:
        InputError: it is no such name, or another folder has an adaptor of that name.
    """
    stem = stem_of(name)
    if not stem or not stem.isprintable() or _NO_NAME.search(stem) or len(os.fsencode(stem)) > LONGEST_NAME:
        raise InputError(
            f"'name' is {spelled(name)}, which is no name of one file, or takes more than {LONGEST_NAME} bytes. Give a "
            f"word such as my_mascot; the file goes into {own_folder()}."
        )
    file = own_folder() / f"{stem}{SUFFIX}"
    other = folder_paths.get_full_path(ADAPTORS, file.name)
    if other is not None and os.path.realpath(other) != os.path.realpath(file):
        raise InputError(
            f"'name': there is an adaptor {file.name} in another folder, {other}, and IAA Load Adaptor would take that "
            "one. Choose another name."
        )
    return file
