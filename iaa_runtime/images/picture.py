"""Pictures that stay the arrays or tensors they came as, until someone looks at some of their rows.

Symbols: H, W, C are height, width and channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from ..errors import Cancel, InputError
from .modes import device_bytes, to_bytes, to_rgb
from .strips import strips

_SAMPLE = 1 << 20


class ArrayPicture:
    """An array or tensor as an RGB picture, which takes no memory of its own: a ComfyUI image has 12 bytes a pixel.

    Args:
        pixels: (H, W) or (H, W, C), on any device; C = 1 grey, 3 RGB or 4 RGBA, which is laid on white. Floats are 0..1
            (what lies outside is clipped, NaN is black), integers uint8 or uint16, or bool. It is not copied.

    Attributes:
        size: (width, height).

    Raises:
        InputError: If the shape, dtype or range is none of these.
    """

    def __init__(self, pixels: Tensor | npt.NDArray[Any]) -> None:
        shape = tuple(pixels.shape)
        if len(shape) not in (2, 3) or shape[2:] not in ((), (1,), (3,), (4,)) or 0 in shape:
            raise InputError(
                f"An image array is (height, width) or (height, width, 1, 3 or 4 channels), but this one is {shape}. "
                "Give the images of a batch one at a time, with the channels last."
            )
        self._pixels = pixels.detach() if isinstance(pixels, Tensor) else pixels
        self.size: tuple[int, int] = (shape[1], shape[0])
        self._check_values()

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.size[0]

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.size[1]

    def crop(self, box: Sequence[int]) -> Image.Image:
        """The pixels of a box (left, top, right, bottom) inside the picture, as an 8-bit RGB image."""
        left, top, right, bottom = box
        pixels = _bytes(self._pixels[top:bottom, left:right])
        return to_rgb(Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels), None)

    def whole(self, cancelled: Cancel = None) -> Image.Image:
        """All of it as an 8-bit RGB image; ``cancelled`` is asked ever so often."""
        image = Image.new("RGB", self.size)
        for box in strips(self.size, cancelled):
            image.paste(self.crop(box), box)
        return image

    def _check_values(self) -> None:
        sample = _array(self._pixels[:: self._step, :: self._step])
        if np.issubdtype(sample.dtype, np.floating):
            # Sharpening overshoots 1 a little and light sources may far; but no picture in 0..1 does so on the whole.
            finite = np.where(np.isfinite(sample), sample, 0)
            if finite.mean(dtype=np.float64) > 2:
                raise InputError(f"A float image is 0..1, but this one reaches {finite.max():g}. Divide it by 255.")
        elif sample.dtype not in (np.uint8, np.uint16, np.bool_):
            raise InputError(
                f"An image array of {sample.dtype} has no known range. Convert it to uint8 or to floats in 0..1."
            )

    @property
    def _step(self) -> int:
        """Every how many pixels a sample of about a million is taken; 1 for small pictures."""
        return int((self.width * self.height / _SAMPLE) ** 0.5) + 1


Picture: TypeAlias = Image.Image | ArrayPicture
"""What is looked at: ``size``, ``width``, ``height`` and ``crop`` of both do the same."""


def _bytes(pixels: Tensor | npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Scales pixels to 8 bits."""
    if isinstance(pixels, Tensor) and pixels.is_floating_point() and pixels.device.type != "cpu":
        pixels = device_bytes(pixels)
    array = _array(pixels)
    if np.issubdtype(array.dtype, np.floating):
        return to_bytes(array)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.ascontiguousarray(array)


def _array(pixels: Tensor | npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same pixels as an array here, floats in at least 32 bits: a product in bfloat16 would be rounded twice."""
    if isinstance(pixels, Tensor):
        short = pixels.is_floating_point() and pixels.itemsize < 4
        return (pixels.float() if short else pixels).cpu().numpy()
    return pixels.astype(np.float32) if pixels.dtype == np.float16 else pixels
