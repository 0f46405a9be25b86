"""Opens picture files, and turns whatever holds one picture into an upright 8-bit RGB image."""

from __future__ import annotations

import os
from functools import cache
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import InputError
from .modes import from_array, to_rgb

ImageFile = str | os.PathLike[str] | BinaryIO
AnyImage = ImageFile | Image.Image | npt.NDArray[Any] | torch.Tensor

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


def load_image(source: ImageFile | Image.Image) -> Image.Image:
    """Opens a picture the way a person sees it: turned upright by its EXIF tag, first frame, RGB.

    Transparency is laid on white. Dropping it instead would show the colours that editors leave under transparent
    pixels (mostly black), which nobody has seen and which make the model describe a background that is not there.
    Grey pictures of 16 or 32 bits and of floats are scaled to 8 bits, not clipped. Colour profiles are not applied.

    Args:
        source: A path, an open binary file, or a PIL image (which is left as it is).

    Returns:
        An 8-bit RGB image of the upright size.

    Raises:
        InputError: If there is no such file, or it is not a readable, complete image of a sane size.
    """
    if isinstance(source, Image.Image):
        return _decode(source, "The image")
    name = str(getattr(source, "name", "the given file") if hasattr(source, "read") else source)
    try:
        with Image.open(source, formats=_formats()) as image:
            return _decode(image, name)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"There is no image at {name}. Check the path.") from error
    except IsADirectoryError as error:
        raise InputError(f"{name} is a folder. Give the path of one image.") from error
    except PermissionError as error:
        raise InputError(f"{name} may not be read. Check its permissions, and that it is not a folder.") from error
    except Exception as error:
        raise _unreadable(name, error) from error


@cache
def _formats() -> list[str]:
    """Those of ``FORMATS`` that this build of Pillow has."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def to_pil(image: AnyImage) -> Image.Image:
    """Turns whatever holds one picture into an upright 8-bit RGB image.

    Args:
        image: A path, binary file or PIL image, as for :func:`load_image`; or an array or tensor, channels last, (H, W)
            or (H, W, C) with C = 1 grey, 3 RGB or 4 RGBA. Floats are 0..1 (what lies outside is clipped), integers
            uint8 or uint16, or bool. One item of a ComfyUI ``IMAGE`` is such a tensor.

    Returns:
        An RGB image of W x H pixels; transparency is laid on white.

    Raises:
        InputError: If the file cannot be read, or the shape, dtype or range is none of these.
    """
    if isinstance(image, torch.Tensor):
        tensor = image.detach().cpu()
        return from_array(tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy())
    if isinstance(image, np.ndarray):
        return from_array(image)
    return load_image(image)


def _decode(image: Image.Image, name: str) -> Image.Image:
    """Decodes the pixels of an opened image, upright and in RGB."""
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
        return to_rgb(upright, image.format)
    except InputError:
        raise
    except Exception as error:
        raise _unreadable(name, error) from error


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
