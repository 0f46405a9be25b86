"""Training pictures: scenes drawn once into memory-mapped arrays, so that no training step waits for drawing."""

from __future__ import annotations

import argparse
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from close_ups import close_up, is_close_up
from PIL import Image
from progress import Progress
from torch import Tensor

from iaa_runtime.images.preprocess import CLIP_MEAN, CLIP_STD, pad_to_square
from iaa_runtime.shapes.scenes import COLORS, KINDS, MAX_SHAPES, Scene, draw_scene, make_scene

COLOR_NAMES = tuple(COLORS)
_CHUNK = 500


def _whole_scene(seed: int) -> Scene:
    """In a size from about the tower's own to three times that."""
    return make_scene(seed, long_side=random.Random(seed ^ 0x5EED).randint(110, 330))


def training_scene(seed: int) -> Scene:
    """The scene of a training seed, or the one shape that is left of it in a close-up."""
    scene = _whole_scene(seed)
    return close_up(scene, seed)[0] if is_close_up(seed) else scene


def training_picture(seed: int) -> Image.Image:
    """The picture of :func:`training_scene`."""
    scene = _whole_scene(seed)
    picture = draw_scene(scene)
    return picture.crop(close_up(scene, seed)[1]) if is_close_up(seed) else picture


def padded_square(picture: Image.Image, size: int) -> Image.Image:
    """Pads to a square with the CLIP mean color and resizes, as ``preprocess`` does before it normalises."""
    red, green, blue = (int(value * 255) for value in CLIP_MEAN)
    return pad_to_square(picture, (red, green, blue)).resize((size, size), Image.Resampling.BICUBIC)


def _draw_chunk(start: int, count: int, size: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Pixels (count, size, size, 3) and labels (count, 5, 6): kind (-1 for none), color, box in the square."""
    pixels = np.zeros((count, size, size, 3), np.uint8)
    labels = np.full((count, MAX_SHAPES, 6), -1, np.float32)
    for row in range(count):
        scene = training_scene(start + row)
        pixels[row] = np.asarray(padded_square(training_picture(start + row), size))
        for i, shape in enumerate(scene.shapes):
            labels[row, i] = (KINDS.index(shape.kind), COLOR_NAMES.index(shape.color), *scene.square_box(i))
    return pixels, labels


def draw_pictures(folder: Path, count: int, size: int, workers: int) -> None:
    """Draws the scenes of seeds 0 to ``count`` - 1 into ``pixels.npy`` and ``labels.npy``, unless they are there."""
    done = folder / "labels.npy"
    if done.exists() and len(np.load(done, mmap_mode="r")) >= count:
        return
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.lib.format.open_memmap(folder / "pixels.npy", "w+", np.uint8, (count, size, size, 3))
    labels = np.zeros((count, MAX_SHAPES, 6), np.float32)
    starts = range(0, count, _CHUNK)
    sizes = [min(_CHUNK, count - start) for start in starts]
    progress = Progress(count, "pictures drawn")
    with ProcessPoolExecutor(workers) as pool:
        for start, drawn in zip(starts, pool.map(_draw_chunk, starts, sizes, [size] * len(sizes)), strict=True):
            pixels[start : start + len(drawn[0])], labels[start : start + len(drawn[0])] = drawn
            progress(start + len(drawn[0]))
    pixels.flush()
    np.save(done, labels)


@dataclass(frozen=True)
class Pictures:
    """The drawn scenes: ``pixels`` (scenes, size, size, 3) uint8, ``labels`` (scenes, 5, 6) float32."""

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.float32]

    @classmethod
    def open(cls, folder: Path) -> Pictures:
        """Maps the arrays that :func:`draw_pictures` wrote."""
        return cls(np.load(folder / "pixels.npy", mmap_mode="r"), np.load(folder / "labels.npy"))

    def batch(self, rows: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Normalised pixels (B, 3, size, size) and labels (B, 5, 6)."""
        pixels = torch.from_numpy(self.pixels[rows]).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
        return (pixels - mean) / std, torch.from_numpy(self.labels[rows])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=60_000)
    parser.add_argument("--size", type=int, default=120)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    draw_pictures(arguments.folder, arguments.count, arguments.size, arguments.workers)
