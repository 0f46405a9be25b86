"""What a picture's file makes a decoder do beyond what its size says: refused before Pillow opens or decodes it.

A few hundred kilobytes can hold a JPEG whose last scan comes a thousand times, an icon of 16 x 16 pixels with a picture
of 12000 x 12000 inside, or a tile far larger than its picture.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO, Literal

from ..errors import InputError
from .limits import GREEDY_PIXELS

MOST_SCANS = 32
"""Of a progressive JPEG; programs write about ten."""
MOST_PARTS, SMALL_PART = 10_000, 64
"""Segments of a JPEG, chunks of a PNG, blocks of a GIF or resources of a PSD may be more only if they have so many
bytes each on the average."""
ICON_PIXELS = 2048 * 2048
"""Of a picture inside an icon; the largest that systems use is 1024 x 1024."""
JPEG2000_PIXELS = GREEDY_PIXELS["JPEG2000"]
"""By what is decoded; the header before it may say less."""
MOST_JPEG2000_TILES = 4096
"""Each takes kilobytes, however small it is."""
LARGEST_READ = 128 << 20
"""Bytes of an icon or a JPEG 2000, which are searched as a whole."""

_JPEG, _PNG, _ICO, _ICNS = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\0\0\1\0", b"icns"
_GIF, _PSD = (b"GIF87a", b"GIF89a"), b"8BPS"
_JPEG2000 = (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")
_TIFF = tuple(order + bytes(version) for order in (b"II", b"MM") for version in ((42, 0), (0, 42), (43, 0), (0, 43)))
_TIFF_BYTES, _TIFF_SHORT = (1, 2, 6, 7), 3
_TIFF_JPEG, _PROGRESSIVE = (6, 7), re.compile(rb"\xff[\xc2\xca]\x00[\x08-\x14]\x08")
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # those that a length follows, and the end
_START_OF_SCAN, _END = 0xDA, 0xD9
_PNG_SIZE = re.compile(re.escape(_PNG) + rb"....IHDR(........)", re.DOTALL)
_JPEG2000_SIZE = re.compile(rb"\xff\x4f\xff\x51....(.{32})", re.DOTALL)


def check_container(file: BinaryIO, name: str) -> None:
    """Raises :class:`InputError` for a file that is not to be opened; leaves it at its start."""
    file.seek(0)
    start = file.read(12)
    if start.startswith(_JPEG):
        _check_parts(_jpeg_parts(file), name)
    elif start.startswith(_PNG):
        _check_parts(_png_parts(file), name)
    elif start.startswith(_GIF):
        _check_parts(_gif_parts(file), name)
    elif start.startswith(_PSD):
        _check_parts(_psd_parts(file), name)
    elif start.startswith(_TIFF):
        _check_tiff(file, name)
    elif start.startswith((_ICO, _ICNS, *_JPEG2000)):
        is_icon = start.startswith((_ICO, _ICNS))
        most = ICON_PIXELS if is_icon else JPEG2000_PIXELS
        for width, height, tiles in _ico_sizes(file) if start.startswith(_ICO) else _inner_sizes(file, name):
            if width * height > most or tiles > MOST_JPEG2000_TILES:
                raise _refusal(name, f"holds a picture of {width} x {height} pixels in {tiles} tiles")
    file.seek(0)


def _check_tiff(file: BinaryIO, name: str) -> None:
    tags = _tiff_tags(file)
    size, tile = (tuple(tags.get(tag, (0, 0, 0))[2] for tag in pair) for pair in ((256, 257), (322, 323)))
    if tile[0] * tile[1] > 2 * size[0] * size[1] + (1 << 20):
        raise _refusal(name, f"is {size[0]} x {size[1]} pixels in a tile of {tile[0]} x {tile[1]}")
    most = 4 * (size[1] + (size[0] // 16 + 1) * (size[1] // 16 + 1)) + (1 << 16)
    for tag, (kind, count, _) in tags.items():
        if count > most and kind not in _TIFF_BYTES:  # such as the places of its strips
            raise _refusal(name, f"is {size[0]} x {size[1]} pixels, and its tag {tag} has {count} numbers")
    if tags.get(259, (0, 0, 0))[2] in _TIFF_JPEG and _is_progressive(file):
        raise _refusal(name, "holds progressive JPEGs as its tiles")


def _is_progressive(file: BinaryIO) -> bool:
    """Whether there is the header of a progressive JPEG anywhere, which no TIFF needs: its tiles may share one."""
    file.seek(0)
    before = b""
    while block := file.read(1 << 20):
        if _PROGRESSIVE.search(before + block):
            return True
        before = block[-8:]
    return False


def _tiff_tags(file: BinaryIO) -> dict[int, tuple[int, int, int]]:
    """The tags of the first picture: the kind of their values, how many, and the value where there is one."""
    file.seek(0)
    order: Literal["little", "big"] = "little" if (header := file.read(16)).startswith(b"II") else "big"
    big = 43 in header[2:4]
    word, length = (8, 20) if big else (4, 12)

    def number(content: bytes) -> int:
        return int.from_bytes(content, order)

    file.seek(number(header[8:16] if big else header[4:8]))
    count = number(file.read(8 if big else 2))
    entries = file.read(length * min(count, 1 << 16))
    tags = {}
    for entry in (entries[at : at + length] for at in range(0, len(entries), length)):
        kind = number(entry[2:4])
        value = entry[4 + word :]
        tags[number(entry[:2])] = (
            kind,
            number(entry[4 : 4 + word]),
            number(value[:2] if kind == _TIFF_SHORT else value),
        )
    return tags


def _check_parts(parts: Iterator[tuple[int, bool]], name: str) -> None:
    """Goes by the place of each part and whether it is a scan."""
    scans = 0
    for number, (place, is_scan) in enumerate(parts):
        scans += is_scan
        if scans > MOST_SCANS:
            raise _refusal(name, f"has more than {MOST_SCANS} scans")
        if number > MOST_PARTS and place < number * SMALL_PART:
            raise _refusal(name, f"has more than {MOST_PARTS} parts, with hardly anything in them")


def _jpeg_parts(file: BinaryIO) -> Iterator[tuple[int, bool]]:
    place = 2
    while True:
        file.seek(place)
        block = file.read(1 << 16)
        found = _MARKER.search(block)
        if found is None:
            if len(block) < 2:
                return
            place += len(block) - 1  # a marker may begin with its last byte
            continue
        place += found.end()
        if found[0][1] == _END:
            return
        yield place, found[0][1] == _START_OF_SCAN
        file.seek(place)
        place += int.from_bytes(file.read(2), "big")


def _png_parts(file: BinaryIO) -> Iterator[tuple[int, bool]]:
    place = len(_PNG)
    while True:
        file.seek(place)
        header = file.read(8)
        if len(header) < 8 or header[4:] == b"IEND":
            return
        yield place, False
        place += 12 + int.from_bytes(header[:4], "big")


def _gif_parts(file: BinaryIO) -> Iterator[tuple[int, bool]]:
    """The blocks of the extensions before the first picture, each of which Pillow may keep."""
    file.seek(10)
    flags = file.read(1) or b"\0"
    file.seek(13 + (3 << (flags[0] & 7) + 1 if flags[0] & 128 else 0))
    while (mark := file.read(1)) not in (b"", b",", b";"):
        yield file.tell(), False
        if mark == b"!":  # Pillow passes over what it does not know, byte by byte
            file.read(1)
            while length := (file.read(1) or b"\0")[0]:
                yield file.seek(length, io.SEEK_CUR), False


def _psd_parts(file: BinaryIO) -> Iterator[tuple[int, bool]]:
    """The resources, such as thumbnails, all of which Pillow keeps."""
    file.seek(26)
    file.seek(int.from_bytes(file.read(4), "big"), io.SEEK_CUR)
    end = int.from_bytes(file.read(4), "big")
    end += file.tell()
    while (place := file.tell()) < end and len(head := file.read(7)) == 7:
        yield place, False
        file.seek(head[6] + (head[6] + 1) % 2, io.SEEK_CUR)
        length = int.from_bytes(file.read(4), "big")
        file.seek(length + length % 2, io.SEEK_CUR)


def _ico_sizes(file: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """The sizes of the pictures in an icon of Windows: PNGs, or bitmaps with a mask of the same size below them."""
    file.seek(4)
    count = int.from_bytes(file.read(2), "little")
    entries = file.read(16 * count)
    for entry in range(0, len(entries) - 15, 16):
        file.seek(int.from_bytes(entries[entry + 12 : entry + 16], "little"))
        header = file.read(24)
        if header.startswith(_PNG):
            yield *struct.unpack_from(">II", header, 16), 1
        elif len(header) == 24:
            width, height = struct.unpack_from("<ii", header, 4)
            yield abs(width), abs(height) // 2, 1


def _inner_sizes(file: BinaryIO, name: str) -> Iterator[tuple[int, int, int]]:
    """The sizes, and numbers of tiles, of the PNGs and JPEG 2000 pictures anywhere in a file."""
    file.seek(0)
    content = file.read(LARGEST_READ + 1)
    if len(content) > LARGEST_READ:
        raise _refusal(name, f"has more than {LARGEST_READ} bytes")
    for found in _PNG_SIZE.finditer(content):
        yield *struct.unpack(">II", found[1]), 1
    for found in _JPEG2000_SIZE.finditer(content):
        right, bottom, left, top, width, height, tiles_left, tiles_top = struct.unpack(">8I", found[1])
        across, down = -((tiles_left - right) // max(1, width)), -((tiles_top - bottom) // max(1, height))
        yield right - left, bottom - top, across * down


def _refusal(name: str, what: str) -> InputError:
    return InputError(f"{name} {what}, which would take much time or memory to decode. Save it anew as PNG or JPEG.")
