"""Training pictures: scenes drawn once into memory-mapped arrays, so that no training step waits for drawing."""

from __future__ import annotations

import argparse
import os
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from close_ups import close_up, is_close_up
from PIL import Image
from progress import Progress
from tower import LOOKS, Batch
from unnamed import draw_unnamed

from iaa_runtime.boxes.geometry import pad_box
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


def _draw_scenes(start: int, count: int, size: int) -> dict[str, npt.NDArray[Any]]:
    """Pixels (count, size, size, 3) and labels (count, 5, 6): kind (-1 for none), color, box in the square."""
    pixels = np.zeros((count, size, size, 3), np.uint8)
    labels = np.full((count, MAX_SHAPES, 6), -1, np.float32)
    for row in range(count):
        pixels[row] = np.asarray(padded_square(training_picture(start + row), size))
        _label(training_scene(start + row), labels[row])
    return {"pixels": pixels, "labels": labels}


def _draw_things(start: int, count: int, size: int) -> dict[str, npt.NDArray[Any]]:
    """The same of scenes with an unnamed thing, labelled last, without kind and color; and its looks, RGBA."""
    pixels = np.zeros((count, size, size, 3), np.uint8)
    labels = np.full((count, MAX_SHAPES, 6), -1, np.float32)
    looks = np.zeros((count, LOOKS, LOOKS, 4), np.uint8)
    for row in range(count):
        drawn = draw_unnamed(start + row)
        pixels[row] = np.asarray(padded_square(drawn.picture, size))
        _label(drawn.scene, labels[row])
        labels[row, -1] = (len(KINDS), len(COLORS), *pad_box(drawn.box, drawn.picture.size))
        looks[row] = np.asarray(drawn.thing.resize((LOOKS, LOOKS), Image.Resampling.BOX))
    return {"pixels": pixels, "looks": looks, "labels": labels}


def _label(scene: Scene, labels: npt.NDArray[np.float32]) -> None:
    for i, shape in enumerate(scene.shapes):
        labels[i] = (KINDS.index(shape.kind), COLOR_NAMES.index(shape.color), *scene.square_box(i))


def draw_pictures(folder: Path, count: int, size: int, workers: int, things: bool = False) -> None:
    """Draws the scenes of seeds 0 to ``count`` - 1 into the arrays of :class:`Pictures`, unless they are there.

    Args:
        folder: where the arrays are, a file each.
        count: of the scenes.
        size: of a side, in pixels.
        workers: processes that draw.
        things: with an unnamed thing each.
    """
    done = folder / "labels.npy"
    if done.exists() and len(np.load(done, mmap_mode="r")) >= count:
        return
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, count, _CHUNK)
    sizes = [min(_CHUNK, count - start) for start in starts]
    progress = Progress(count, f"pictures{' with things' if things else ''} drawn")
    arrays: dict[str, npt.NDArray[Any]] = {}
    with ProcessPoolExecutor(workers) as pool:
        drawn = pool.map(_draw_things if things else _draw_scenes, starts, sizes, [size] * len(sizes))
        for start, parts in zip(starts, drawn, strict=True):
            for name, part in parts.items():
                if name not in arrays:
                    file = folder / f"{name}.part.npy"
                    arrays[name] = np.lib.format.open_memmap(file, "w+", part.dtype, (count, *part.shape[1:]))
                arrays[name][start : start + len(part)] = part
            progress(start + len(parts["pixels"]))
    for name in arrays:  # labels last: they say that all is there
        arrays[name].flush()  # type: ignore[attr-defined]
        os.replace(folder / f"{name}.part.npy", folder / f"{name}.npy")


@dataclass(frozen=True)
class Pictures:
    """The drawn scenes.

    Attributes:
        pixels: (scenes, size, size, 3) uint8.
        labels: (scenes, 5, 6) float32.
        looks: (scenes, LOOKS, LOOKS, 4) uint8, of unnamed things; None where there are none.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.float32]
    looks: npt.NDArray[np.uint8] | None = None

    @classmethod
    def open(cls, folder: Path) -> Pictures:
        """Maps the arrays that :func:`draw_pictures` wrote."""
        looks = folder / "looks.npy"
        return cls(
            np.load(folder / "pixels.npy", mmap_mode="r"),
            np.load(folder / "labels.npy"),
            np.load(looks) if looks.exists() else None,
        )

    def batch(self, rows: npt.NDArray[np.int64]) -> Batch:
        """Normalised pixels (B, 3, size, size), labels (B, 5, 6), and looks (B, 4, LOOKS, LOOKS) of 0 to 1 or None."""
        pixels = torch.from_numpy(self.pixels[rows]).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
        looks = None if self.looks is None else torch.from_numpy(self.looks[rows]).permute(0, 3, 1, 2).float() / 255
        return (pixels - mean) / std, torch.from_numpy(self.labels[rows]), looks


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=60_000)
    parser.add_argument("--size", type=int, default=120)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    draw_pictures(arguments.folder, arguments.count, arguments.size, arguments.workers)
