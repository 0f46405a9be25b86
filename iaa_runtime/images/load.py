"""Pictures in: from files, arrays and tensors to upright RGB, and from RGB to the vision tower's input.

Symbols: B images, H, W, C an array's height, width and channels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import InputError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of CLIP's training pixels, RGB, of values in 0..1 (Radford et al., arXiv 2103.00020)."""

ImageFile = str | os.PathLike[str] | BinaryIO
AnyImage = ImageFile | Image.Image | npt.NDArray[Any] | torch.Tensor

# fmt: off
FORMATS = (
    "PNG", "JPEG", "MPO", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "ICO", "ICNS", "TGA", "PPM", "PSD",
    "DDS", "PCX", "QOI", "SGI",
)
# fmt: on
"""The formats that files are read in, by Pillow's names: those that hold pixels and are decoded within this process.

Pillow goes by content, not by name, and has more: PostScript starts Ghostscript, Windows is asked to draw metafiles,
and IPTC opens whatever is inside.
"""

_PADDING_ROWS = 1024
_WIDE_GREY_FORMATS = frozenset({"PNG", "PPM"})


def load_image(source: ImageFile | Image.Image) -> Image.Image:
    """Reads a picture the way a person sees it: turned upright by its EXIF tag, first frame, RGB.

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
        return _from_array(tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy())
    if isinstance(image, np.ndarray):
        return _from_array(image)
    return load_image(image)


def pad_to_square(image: Image.Image, color: tuple[int, int, int]) -> Image.Image:
    """Centres an RGB image on a square of ``color``; an odd pixel of border goes right or below."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), color)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def bounded_square(image: Image.Image, largest: int, mean: Sequence[float] = CLIP_MEAN) -> Image.Image:
    """Pads an RGB image to a square with the mean colour, and shrinks what is wider than ``largest`` pixels then."""
    red, green, blue = (int(channel * 255) for channel in mean)
    if max(image.size) <= largest:
        return pad_to_square(image, (red, green, blue))
    return _padded_resize(image, largest, (red, green, blue))


def preprocess(
    images: Sequence[Image.Image],
    size: int = 336,
    mean: Sequence[float] = CLIP_MEAN,
    std: Sequence[float] = CLIP_STD,
) -> torch.Tensor:
    """Prepares pictures for the vision tower as the published code does.

    Each is padded to a square with the mean colour, resized (bicubic, antialiased, in 8 bits), scaled to 0..1 and
    normalised. Resizing the shortest edge and cropping the centre, the usual end of CLIP's recipe, is one resize here.

    Args:
        images: B pictures of any sizes; other modes than RGB are read as by :func:`load_image`.
        size: Edge of the tower's input in pixels.
        mean: Per-channel mean, RGB, of values in 0..1.
        std: Per-channel standard deviation, likewise.

    Returns:
        Pixel values, (B, 3, size, size), float32, on the CPU.

    Raises:
        InputError: If there is no picture, or one has no pixels.
    """
    if not images:
        raise InputError("There is no image to prepare. Give at least one.")
    red, green, blue = (int(channel * 255) for channel in mean)
    squares = [_padded_resize(_to_rgb(image, image.format), size, (red, green, blue)) for image in images]
    pixels = (
        torch.from_numpy(np.stack([np.asarray(square) for square in squares])).permute(0, 3, 1, 2).contiguous() / 255
    )
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def _padded_resize(image: Image.Image, size: int, color: tuple[int, int, int]) -> Image.Image:
    """Does what resizing ``pad_to_square(image, color)`` to ``size`` does, without holding the square.

    Pillow resizes rows, then columns. Doing the rows a strip at a time gives the same bytes and keeps a long thin
    picture (65000 x 10 is a file of 2 kB) from asking for 17 GB.
    """
    side = max(image.size)
    left, top = (side - image.width) // 2, (side - image.height) // 2
    narrowed = Image.new("RGB", (size, side), color)
    for y in range(0, image.height, _PADDING_ROWS):
        rows = min(_PADDING_ROWS, image.height - y)
        strip = Image.new("RGB", (side, rows), color)
        strip.paste(image.crop((0, y, image.width, y + rows)), (left, 0))
        narrowed.paste(strip.resize((size, rows), Image.Resampling.BICUBIC), (0, top + y))
    return narrowed.resize((size, size), Image.Resampling.BICUBIC)


def _decode(image: Image.Image, name: str) -> Image.Image:
    """Reads the pixels of an opened image, upright and in RGB."""
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
        return _to_rgb(upright, image.format)
    except InputError:
        raise
    except Exception as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> InputError:
    """Says why Pillow gave up. Its decoders raise nearly any exception on a damaged file, so all of them end here."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return InputError(f"{name} has too many pixels to be opened safely ({error}). Make it smaller.")
    if isinstance(error, UnidentifiedImageError):
        return InputError(
            f"{name} is not an image that can be read here. Is it damaged, or of a kind that should be saved as "
            "PNG, JPEG or WebP first?"
        )
    return InputError(f"{name} could not be read: {error}. It seems incomplete or damaged; save or copy it anew.")


def _to_rgb(image: Image.Image, file_format: str | None) -> Image.Image:
    """Turns any of Pillow's modes into RGB; ``file_format`` is what the pixels were read from, where that is known."""
    if min(image.size) < 1:
        raise InputError(f"The image has no pixels: it is {image.width} x {image.height}. Give another.")
    if image.mode.startswith("I") or image.mode == "F":
        return _from_grey(np.asarray(image), _grey_white(image, file_format))
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey_white(image: Image.Image, file_format: str | None) -> float:
    """The value that means white in a grey image of more than 8 bits.

    Modes ``I`` and ``F`` do not say their range, so it is the smallest usual one that holds the brightest pixel. Only
    the mode ``I`` of older Pillows for a 16-bit PNG is known.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format in _WIDE_GREY_FORMATS):
        return 65535.0
    values = np.asarray(image, dtype=np.float64)
    brightest = float(values.max(initial=0.0, where=np.isfinite(values)))
    usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    return next((white for white in usual if brightest <= white), brightest)


def _from_grey(values: npt.NDArray[Any], white: float) -> Image.Image:
    """Scales (H, W) grey values from 0..``white`` to 8 bits."""
    return Image.fromarray(_to_uint8(values, white)).convert("RGB")


def _to_uint8(values: npt.NDArray[Any], white: float) -> npt.NDArray[np.uint8]:
    """Scales 0..``white`` to 0..255, rounded; NaN becomes black, what lies outside is clipped."""
    scaled = np.nan_to_num(values.astype(np.float64) * (255 / white), nan=0.0, posinf=255.0, neginf=0.0)
    pixels: npt.NDArray[np.uint8] = np.rint(scaled.clip(0, 255)).astype(np.uint8)
    return pixels


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    """Makes an RGB image of an (H, W) or (H, W, C) array."""
    channels_last = array[..., None] if array.ndim == 2 else array
    if channels_last.ndim != 3 or channels_last.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise InputError(
            f"An image array is (height, width) or (height, width, 1, 3 or 4 channels), but this one is {array.shape}. "
            "Give the images of a batch one at a time, with the channels last."
        )
    pixels = _array_to_uint8(channels_last)
    return _to_rgb(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), None)


def _array_to_uint8(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Scales the dtypes that pictures come in to 8 bits."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == np.uint16:
        return _to_uint8(array, 65535.0)
    if array.dtype == np.bool_:
        return _to_uint8(array, 1.0)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"An image array of {array.dtype} has no known range. Convert it to uint8 or to floats in 0..1."
        )
    # Sharpening overshoots 1 a little and light sources may far; but no picture in 0..1 does so on the whole.
    finite = np.where(np.isfinite(array), array, 0)
    if finite.mean(dtype=np.float64) > 2:
        raise InputError(f"A float image is 0..1, but this one reaches {finite.max():g}. Divide it by 255.")
    return _to_uint8(array, 1.0)
