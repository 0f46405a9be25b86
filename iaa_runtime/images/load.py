"""Opens picture files, and turns whatever holds one picture into an upright 8-bit RGB image."""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from functools import cache
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from PIL import ExifTags, Image, UnidentifiedImageError

from ..errors import Cancel, InputError, spelled
from .containers import check_container
from .limits import check_decoder, check_pixels, check_shape
from .modes import to_rgb
from .picture import ArrayPicture, Picture

ImageFile = str | os.PathLike[str] | BinaryIO
AnyImage = ImageFile | Picture | npt.NDArray[Any] | torch.Tensor

# fmt: off
FORMATS = (
    "PNG", "JPEG", "MPO", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "ICO", "ICNS", "TGA", "PPM", "PSD",
    "DDS", "PCX", "QOI", "SGI",
)
# fmt: on
"""The formats that files are opened in, by Pillow's names: those that hold pixels and are decoded in this process.

Pillow goes by content, not by name, and has more: PostScript starts Ghostscript, Windows is asked to draw metafiles,
and IPTC opens whatever is inside.
"""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture of each EXIF orientation upright."""
_ORIENTATION_KEYS = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")
"""Where Pillow keeps the orientation of an image, which a turned one has no longer."""


def load_image(source: ImageFile | Image.Image) -> Image.Image:
    """Opens a picture the way a person sees it: turned upright by its EXIF tag, first frame, RGB.

    Transparency is laid on white. Dropping it instead would show the colours that editors leave under transparent
    pixels (mostly black), which nobody has seen and which make the model describe a background that is not there.
    Grey pictures of 16 or 32 bits and of floats are scaled to 8 bits, not clipped. Colour profiles are not applied.

    Args:
        source: A path, an open binary file, or a PIL image (which is left as it is).

    Returns:
        An 8-bit RGB image of the upright size; a PIL image that is one already is returned itself.

    Raises:
        InputError: If there is no such file, or it is not a readable, complete image of a sane size and shape.
    """
    if isinstance(source, Image.Image):
        return _decode(source, "The image")
    _check_kind(source)
    name = str(getattr(source, "name", "the given file") if hasattr(source, "read") else source)
    with _explained(name), _checked(source, name) as file, warnings.catch_warnings():
        # Pillow's, of what is refused here or shown as well as it can be; who makes errors of them gets errors.
        warnings.simplefilter("ignore", append=True)
        with Image.open(file, formats=_formats()) as image:
            return _decode(image, name)


def check_image(path: str) -> None:
    """Raises :class:`InputError` for a path that is no file, or one that is not worth opening; decodes nothing."""
    _check_kind(path)
    with _explained(path), _checked(path, path):
        pass


def _check_kind(source: object) -> None:
    """Raises :class:`InputError` for what is neither a path nor an open file: what programs for pictures take, too."""
    if isinstance(source, str) and re.match(r"data:|[a-z][a-z0-9+.-]+://", source, re.IGNORECASE):
        raise InputError(f"{spelled(source, 100)} is an address, and nothing is fetched here. Give the file's path.")
    if isinstance(source, (str, os.PathLike)) or callable(getattr(source, "read", None)):
        return
    remedy = "Give a path, a PIL image, an array or a tensor, or a list of them."
    if isinstance(source, (bytes, bytearray, memoryview)):
        remedy = "Bytes of a file are opened as io.BytesIO(them)."
    elif isinstance(source, (Iterator, Mapping, Set)):
        remedy = "Make a list of its pictures first."
    raise InputError(f"{spelled(source)} ({type(source).__name__}) is no picture. {remedy}")


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Has whatever opening a picture raises end in an :class:`InputError` that names it."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"There is no image at {name}. Check the path.") from error
    except IsADirectoryError as error:
        raise InputError(f"{name} is a folder. Give the path of one image; iaa annotate takes folders.") from error
    except PermissionError as error:
        raise InputError(f"{name} may not be read. Check its permissions, and that it is not a folder.") from error
    except Exception as error:
        raise _unreadable(name, error) from error


@contextmanager
def _checked(source: ImageFile, name: str) -> Iterator[ImageFile]:
    """What Pillow may open, after a look at it."""
    if isinstance(source, (str, os.PathLike)):
        _check_regular(source)
        with open(source, "rb") as file:
            check_container(file, name)
        yield source  # by its path, Pillow maps it where it can
    else:
        seekable = source if source.seekable() else io.BytesIO(source.read())
        check_container(seekable, name)
        yield seekable


def _check_regular(path: str | os.PathLike[str]) -> None:
    """Raises :class:`InputError` for a pipe or a device, which may never end; folders have a message of their own."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{path} is no regular file, but a pipe or a device. Give the picture's file itself.")


@cache
def _formats() -> list[str]:
    """Those of ``FORMATS`` that this build of Pillow has."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


@cache
def endings() -> frozenset[str]:
    """What names of pictures end in, such as ``.png``: of the formats that this build of Pillow opens, lower case."""
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in _formats())


def format_of(content: bytes, name: str) -> str:
    """Pillow's name of the format of a picture's file, such as ``PNG``; raises :class:`InputError` where it is none."""
    with _explained(name), Image.open(io.BytesIO(content), formats=_formats()) as opened:
        return opened.format or ""


def to_picture(image: AnyImage) -> Picture:
    """Turns whatever holds one picture into something to look at, without converting arrays before that.

    Args:
        image: A path, binary file or PIL image, as for :func:`load_image`; or an array or tensor, as for
            :class:`~.picture.ArrayPicture`. One item of a ComfyUI ``IMAGE`` is such a tensor.

    Raises:
        InputError: If the file cannot be read, or the array is no picture.
    """
    if isinstance(image, ArrayPicture):
        return image
    return ArrayPicture(image) if isinstance(image, (torch.Tensor, np.ndarray)) else load_image(image)


def to_pil(image: AnyImage, cancelled: Cancel = None) -> Image.Image:
    """Turns whatever holds one picture, as for :func:`to_picture`, into an upright 8-bit RGB image of its own size.

    Args:
        image: The picture.
        cancelled: True raises :class:`~iaa_runtime.errors.Cancelled`; asked ever so often while arrays are converted.

    Raises:
        InputError: If the file cannot be read, or the array is no picture.
    """
    picture = to_picture(image)
    return picture.whole(cancelled) if isinstance(picture, ArrayPicture) else picture


def _decode(image: Image.Image, name: str) -> Image.Image:
    """Decodes the pixels of an opened image, upright and in RGB."""
    check_pixels(image.size, name)
    check_shape(image.size, name)
    check_decoder(image, name)
    try:
        image.load()
        return to_rgb(_upright(image), image.format)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise _unreadable(name, error) from error


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """What makes an image upright, as its EXIF tag says; None where it is upright, or the tag cannot be read."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # nearly any, as for damaged pixels
        return None


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF tag says.

    Pillow's own ``exif_transpose`` writes the other tags anew, which fails for many that are damaged.
    """
    turn = turn_of(image)
    if turn is None:
        return image
    turned = image.transpose(turn)
    for key in _ORIENTATION_KEYS:
        turned.info.pop(key, None)
    return turned


def _unreadable(name: str, error: Exception) -> InputError:
    """The error for whatever Pillow raised: on a damaged file, its decoders raise nearly any exception."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return InputError(f"{name} has too many pixels to be opened safely ({error}). Make it smaller.")
    if isinstance(error, UnidentifiedImageError):
        return InputError(
            f"{name} is not an image that can be read here. Is it damaged, or of a kind that should be saved as "
            "PNG, JPEG or WebP first?"
        )
    return InputError(f"{name} could not be read: {error}. It seems incomplete or damaged; save or copy it anew.")
