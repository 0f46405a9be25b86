"""Image files: formats, EXIF, frames and damage."""

from __future__ import annotations

import io
import os
import struct
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import CORNERS, PANDA, UPRIGHT, pixels, saved
from PIL import ExifTags, Image, PngImagePlugin

from iaa_runtime.errors import InputError
from iaa_runtime.images import limits
from iaa_runtime.images.load import load_image, to_pil
from iaa_runtime.images.preprocess import preprocess


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("as_text", [True, False])
def test_lossless_files_are_read_as_they_are(tmp_path: Path, file_format: str, as_text: bool) -> None:
    path = tmp_path / f"bild ü.{file_format.lower()}"
    UPRIGHT.save(path, **({"lossless": True, "exact": True} if file_format == "WEBP" else {}))
    assert pixels(load_image(str(path) if as_text else path)) == CORNERS.tolist()
    with path.open("rb") as file:
        assert pixels(load_image(file)) == CORNERS.tolist()


TURNED = {
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.transpose(1, 0, 2),
    6: np.rot90(CORNERS),
    7: CORNERS[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(CORNERS, -1),
}
"""How a camera stores CORNERS under each EXIF orientation."""


@pytest.mark.parametrize("orientation", sorted(TURNED))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_are_turned_upright(orientation: int, file_format: str) -> None:
    blocks = np.ascontiguousarray(TURNED[orientation]).repeat(16, 0).repeat(16, 1)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = saved(Image.fromarray(blocks), file_format, exif=exif, **({"quality": 95} if file_format == "JPEG" else {}))
    image = load_image(file)
    assert image.size == (48, 32)
    middles = np.asarray(image)[8::16, 8::16].astype(int)
    assert np.abs(middles - CORNERS).max() < 40  # JPEG and WebP are lossy
    assert to_pil(image).size == (48, 32)  # and is not turned again


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"\xff"])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_hide_the_picture(exif: bytes, file_format: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pillow's own, about the broken block
        assert load_image(saved(UPRIGHT, file_format, exif=exif)).size == (3, 2)


@pytest.mark.parametrize("block", ["\nexif\n       4\nzzzz", "\nexif\n       4\n45786966", "\n"])
def test_a_broken_text_of_exif_does_not_hide_the_picture(block: str) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", block)
    assert load_image(saved(UPRIGHT, "PNG", pnginfo=text)).size == (3, 2)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_turned_whatever_else_its_exif_says(file_format: str) -> None:
    """Here the maker's name is said to be a float, which Pillow reads and cannot write."""
    tags = struct.pack(">HHIf", ExifTags.Base.Make, 11, 1, 0.5) + struct.pack(
        ">HHIHH", ExifTags.Base.Orientation, 3, 1, 6, 0
    )
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + tags + bytes(4)
    image = load_image(saved(UPRIGHT, file_format, exif=exif))
    assert image.size == (2, 3)
    assert load_image(image) is image  # and is not turned again


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_a_moving_picture(file_format: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    file = saved(frames[0], file_format, save_all=True, append_images=frames[1:])
    assert getattr(Image.open(file), "n_frames", 1) == 2
    file.seek(0)
    assert np.abs(np.asarray(load_image(file)).astype(int) - (255, 0, 0)).max() < 8


def test_the_photographs_of_the_quick_start() -> None:
    assert load_image(PANDA).size == Image.open(PANDA).size
    assert pixels(load_image(PANDA)) == pixels(Image.open(PANDA).convert("RGB"))


# Errors --------------------------------------------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an image"),
        (b"not an image at all", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "PNG, JPEG or WebP"),
        (PANDA.read_bytes()[:5000], "incomplete or damaged"),
        (saved(UPRIGHT.resize((50, 50)), "PNG").getvalue()[:-40], "incomplete or damaged"),
        (png_header(20, 20), "incomplete or damaged"),
        (png_header(100_000, 100_000), "too many pixels.*smaller"),
        (PANDA.read_bytes()[:3], "not an image"),
    ],
    ids=["empty", "text", "svg", "cut JPEG", "cut PNG", "no pixels", "bomb", "stub"],
)
def test_a_broken_file_is_named_with_what_to_do(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as error:
        load_image(path)
    assert str(path) in str(error.value)
    with path.open("rb") as file, pytest.raises(InputError, match=reason) as error:
        load_image(file)
    assert str(path) in str(error.value)
    with pytest.raises(InputError, match="the given file"):
        load_image(io.BytesIO(content))


def test_a_large_picture_is_refused_where_warnings_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.png"
    UPRIGHT.save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match="too many pixels"):
            load_image(path)


def test_a_lazily_opened_broken_image_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(PANDA.read_bytes()[:5000])
    with Image.open(path) as image, pytest.raises(InputError, match="could not be read"):
        to_pil(image)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no image at .*nowhere\.png"):
        load_image(tmp_path / "nowhere.png")
    folder = tmp_path / "some.png"
    folder.mkdir()
    with pytest.raises(InputError, match=r"some\.png is a folder|may not be read.*not a folder"):  # Windows: the latter
        load_image(folder)


POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 32 32
%%EndComments
{} loop
%%EOF
"""


def test_no_file_starts_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands PostScript, whatever its name, to Ghostscript; this program never ends."""
    path = tmp_path / "named.png"
    path.write_bytes(POSTSCRIPT)
    monkeypatch.setattr("PIL.EpsImagePlugin.has_ghostscript", lambda: True)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("Ghostscript was started"))
    for source in (path, io.BytesIO(POSTSCRIPT)):
        with pytest.raises(InputError, match="not an image that can be read here"):
            load_image(source)


@pytest.mark.parametrize(
    ("header", "pixel"),
    [
        (b"qoif" + struct.pack(">II", 3000, 3000) + b"\3\0", b"\xfe\1\2\3"),
        (b"P6 3000 3000 100\n", b"\1\2\3"),
        (b"P3 3000 3000 255\n", b"1 2 3 "),
    ],
    ids=["QOI", "PPM of 100 values", "PPM in text"],
)
def test_what_pillow_decodes_in_python_must_be_small(header: bytes, pixel: bytes) -> None:
    """A second for a million pixels: these would take nine, and the largest that may be opened three minutes."""
    started = time.process_time()
    with pytest.raises(InputError, match=r"3000 x 3000 pixels of a kind that would take minutes .* Save it as PNG"):
        load_image(io.BytesIO(header + pixel * 9_000_000))
    assert time.process_time() - started < 2
    small = header.replace(b"3000 3000", b"3 3").replace(struct.pack(">II", 3000, 3000), struct.pack(">II", 3, 3))
    assert load_image(io.BytesIO(small + pixel * 9 + b"\0" * 7 + b"\1")).size == (3, 3)


def test_the_usual_formats_are_read() -> None:
    for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "ICO", "JPEG2000", "PCX", "SGI", "DDS"):
        assert load_image(saved(UPRIGHT.resize((32, 32)), name)).size == (32, 32), name


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_an_image_without_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="no pixels"):
        load_image(Image.new("RGB", size))
    with pytest.raises(InputError, match="no pixels"):
        preprocess([Image.new("RGB", size)])


@pytest.mark.parametrize("file_format", limits.GREEDY_PIXELS)
def test_decoders_that_take_much_memory_get_smaller_pictures(file_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(limits.GREEDY_PIXELS, file_format, 99)
    assert load_image(saved(Image.new("RGB", (9, 11)), file_format)).size == (9, 11)
    with pytest.raises(InputError, match=r"10 x 10 pixels of a kind that would take much memory .* 99 are the most"):
        load_image(saved(Image.new("RGB", (10, 10)), file_format))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for place in (tmp_path / "pipe.png", Path("/dev/zero")):
        with pytest.raises(InputError, match="is no regular file, but a pipe or a device"):
            load_image(place)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_damage_ends_as_an_input_error_or_a_picture(seed: int, hits: int) -> None:
    """Fuzzing: whatever a damaged file does inside Pillow, the caller sees one kind of error."""
    random = np.random.default_rng(seed)
    file_format = ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP")[seed % 6]
    content = bytearray(saved(UPRIGHT.resize((24, 16)), file_format).getvalue())
    for place in random.integers(0, len(content), hits):
        content[place] = random.integers(0, 256)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert load_image(io.BytesIO(bytes(content))).mode == "RGB"
        except InputError as error:
            assert "given file" in str(error) or "no pixels" in str(error)


def test_an_unreadable_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    UPRIGHT.save(path)
    path.chmod(0)
    try:
        path.open("rb").close()
    except PermissionError:
        with pytest.raises(InputError, match="permissions"):
            load_image(path)
    else:
        pytest.skip("this user may read everything")
    finally:
        path.chmod(0o600)
