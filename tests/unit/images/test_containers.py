"""Files of a few kilobytes that would take seconds or gigabytes: refused in a sentence before they are decoded."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pictures import UPRIGHT, saved
from PIL import Image

from iaa_runtime.errors import InputError
from iaa_runtime.images import containers
from iaa_runtime.images.load import load_image


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, chunks: bytes = b"") -> bytes:
    """Black, with ``chunks`` before its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunks
        + chunk(b"IDAT", zlib.compress(bytes(height * (1 + 3 * width))))
        + (chunk(b"IEND", b""))
    )


def scans(more: int, between: bytes = b"") -> bytes:
    """A progressive JPEG whose last scan comes so many times more."""
    content = saved(Image.new("RGB", (2000, 2000)), "JPEG", progressive=True).getvalue()
    last, end = content.rindex(b"\xff\xda"), content.rindex(b"\xff\xd9")
    return content[:end] + (between + content[last:end]) * more + content[end:]


def tiff(order: str, big: bool, **tags: int) -> bytes:
    """A grey 16 x 16 picture in one strip or tile, with other tags or other numbers of values of them."""
    entries = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 277: 1} | {int(tag[1:]): value for tag, value in tags.items()}
    length, word = (20, "Q") if big else (12, "I")
    at = (16 if big else 8) + (8 if big else 2) + length * len(entries) + (8 if big else 4)
    head = struct.pack(f"{order}HHHQ", 43, 8, 0, 16) if big else struct.pack(f"{order}HI", 42, 8)
    body = struct.pack(f"{order}{'Q' if big else 'H'}", len(entries))
    for tag, value in sorted(entries.items()):
        count = value if tag in (273, 279) else 1
        body += struct.pack(f"{order}HH{word}{word}", tag, 4, count, at if tag in (273, 279, 324) else value)
    return (b"II" if order == "<" else b"MM") + head + body + bytes(8 if big else 4) + bytes(256 * 256)


def ico(content: bytes) -> bytes:
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(content), 22) + content


def icns(content: bytes) -> bytes:
    return b"icns" + struct.pack(">I4sI", 16 + len(content), b"ic10", 8 + len(content)) + content


def jpeg2000(size: int, tile: int) -> bytes:
    return saved(Image.new("RGB", (size, size)), "JPEG2000", tile_size=(tile, tile)).getvalue()


def jp2_that_says(size: int) -> bytes:
    """4096 x 4096 pixels, whose outer header says less."""
    return re.sub(rb"(?<=ihdr).{8}", struct.pack(">II", size, size), jpeg2000(4096, 4096), flags=re.DOTALL)


def bitmap(size: int) -> bytes:
    return struct.pack("<IiiHHIIiiII", 40, size, 2 * size, 1, 8, 1, 0, 0, 0, 0, 0) + b"\xff\0" * 1000


def gif(extensions: bytes) -> bytes:
    content = saved(Image.new("RGB", (10, 10)), "GIF").getvalue()
    at = 13 + (3 << (content[10] & 7) + 1)
    return content[:at] + extensions + content[at:]


def psd(resources: bytes) -> bytes:
    head = b"8BPS" + struct.pack(">H6xHIIHHI", 1, 3, 10, 10, 8, 3, 0)
    return head + struct.pack(">I", len(resources)) + resources + bytes(4 + 2 + 300)


HOSTILE = {
    "comments": (lambda: gif(b"!\xfe\1a\0" * 10**6), "more than 10000 parts"),
    "a comment of a million blocks": (lambda: gif(b"!\xfe" + b"\1a" * 10**6 + b"\0"), "more than 10000 parts"),
    "resources": (lambda: psd(b"8BIM\4\4\0\0\0\0\0\0" * 10**6), "more than 10000 parts"),
    "scans": (lambda: scans(400), "more than 32 scans"),
    "scans after a segment that shows an end": (
        lambda: scans(400, b"\xff\xfe\0\x08\xff\xd9\xff\xd9\xff\xd9"),
        "more than 32 scans",
    ),
    "a million segments": (lambda: b"\xff\xd8" + b"\xff\xe3\0\2" * 10**6 + scans(0)[2:], "more than 10000 parts"),
    "a million chunks": (lambda: png(10, 10, chunk(b"tEXt", b"k\0v") * 10**6), "more than 10000 parts"),
    "a tile": (lambda: tiff("<", False, t322=12000, t323=12000, t324=0, t325=256), "in a tile of 12000 x 12000"),
    "a tile, big-endian": (lambda: tiff(">", False, t322=9000, t323=9000, t324=0, t325=256), "a tile of 9000 x 9000"),
    "a tile, BigTIFF": (lambda: tiff("<", True, t322=9000, t323=9000, t324=0, t325=256), "a tile of 9000 x 9000"),
    "strips": (lambda: tiff("<", False, t273=5 * 10**6, t279=5 * 10**6), "tag 273 has 5000000 numbers"),
    "JPEGs in a TIFF": (
        lambda: tiff("<", False, t259=7, t322=16, t323=16, t324=0) + scans(9),
        "holds progressive JPEGs",
    ),
    "PNG in ICO": (lambda: ico(png(3000, 3000)), "holds a picture of 3000 x 3000"),
    "bitmap in ICO": (lambda: ico(bitmap(12000)), "holds a picture of 12000 x 12000"),
    "PNG in ICNS": (lambda: icns(png(3000, 3000)), "holds a picture of 3000 x 3000"),
    "JPEG 2000 in ICNS": (lambda: icns(jpeg2000(3000, 3000)), "holds a picture of 3000 x 3000"),
    "JPEG 2000 in thousands of tiles": (lambda: jpeg2000(2000, 16), "in 15625 tiles"),
    "JPEG 2000 that says less": (lambda: jp2_that_says(16), "holds a picture of 4096 x 4096"),
}


@pytest.mark.parametrize(("make", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_what_takes_more_than_its_size_says_is_refused(tmp_path: Path, make: Callable[[], bytes], reason: str) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(make())
    begin = time.process_time()
    for source in (path, io.BytesIO(path.read_bytes())):
        with pytest.raises(InputError, match=f"{reason}.*which would take much time or memory to decode"):
            load_image(source)
    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    "content",
    [
        scans(containers.MOST_SCANS - 10, b"\xff\xfe\0\4\xff\xda"),
        png(10, 10, chunk(b"tEXt", b"k\0v") * 9000),
        saved(
            Image.new("RGB", (40, 30)), "PNG", save_all=True, append_images=[UPRIGHT.resize((40, 30))] * 20
        ).getvalue(),
        saved(
            Image.new("RGB", (300, 300)), "MPO", save_all=True, append_images=[UPRIGHT.resize((300, 300))] * 50
        ).getvalue(),
        gif(b"!\xfe" + (b"\xff" + b"a" * 255) * 20000 + b"\0"),
        psd(b"8BIM\4\4\3odd\0\0\0\3odd\0" * 9000),
        tiff("<", False, t273=1, t279=1),
        saved(Image.new("RGB", (300, 300)), "TIFF", compression="jpeg").getvalue(),
        tiff(">", False, t322=256, t323=256, t324=0, t325=65536),
        saved(Image.new("RGB", (256, 256)), "ICO").getvalue(),
        icns(png(1024, 1024)),
        jpeg2000(1000, 100),
    ],
    ids=["scans", "chunks", "APNG", "MPO", "GIF", "PSD", "strip", "TIFF of JPEG", "tile", "ICO", "ICNS", "JPEG 2000"],
)
def test_what_programs_write_is_read(content: bytes) -> None:
    assert load_image(io.BytesIO(content)).mode == "RGB"


def test_a_stream_that_cannot_go_back_is_read() -> None:
    reading, writing = os.pipe()
    with open(writing, "wb") as pipe:  # the picture is small enough to stay in it
        pipe.write(saved(UPRIGHT, "PNG").getvalue())
    with open(reading, "rb") as stream:
        assert load_image(stream).size == UPRIGHT.size


def test_pillow_prints_no_warning(tmp_path: Path) -> None:
    """Of pictures above half of its limit, for one."""
    Image.new("1", (10_000, 10_000)).save(tmp_path / "large.png")
    code = f"from iaa_runtime.images.load import load_image; load_image({str(tmp_path / 'large.png')!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
