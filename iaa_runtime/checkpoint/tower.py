"""Finds the CLIP vision tower of a checkpoint: in the checkpoint's own shards, or in a folder of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..config import PUBLISHED_VISION_TOWER, VisionConfig
from ..config.settings import load_settings
from ..config.small_files import dangling, load_json
from ..errors import CheckpointError
from .files import WeightFiles, path_parts
from .names import TOWER_MARK, find_tower_prefix


@dataclass(frozen=True)
class Tower:
    """Where the vision tower's weights and geometry are."""

    files: WeightFiles
    prefix: str
    config: VisionConfig


def find_tower(
    folder: Path, files: WeightFiles, name: str, given: str | Path | None = None
) -> tuple[Tower | None, list[str]]:
    """Finds the tower of a checkpoint.

    Args:
        folder: of the checkpoint.
        files: the checkpoint's weights.
        name: what its config calls the tower (``mm_vision_tower``): a path below the checkpoint's folder or beside
            it, or the name of a repository. A stranger wrote it, so it names no other place: of an absolute path, as
            configs bring along from their author's machine, the last name counts.
        given: the folder, or a file in it, that the user names; only there and in the shards is looked then.

    Returns:
        The tower, or None; and the places where it is not, in words.

    Raises:
        CheckpointError: the tower is not where the user says.
    """
    searched: list[str] = []
    prefix = find_tower_prefix(files.names)
    if given is not None:
        given = Path(os.path.expanduser(given))  # which leaves a user that does not exist as it is
        given = given.parent if os.path.isfile(given) else given
        tower = _tower_in(given, searched)
        if tower is None and prefix is not None and _has_config(given):
            tower = Tower(files, prefix, _vision_config(given))
        if tower is None:
            raise CheckpointError(
                f"No CLIP vision tower was found in {given}, which vision_tower names: {searched[-1]}. It needs a "
                "config.json, and weights unless the checkpoint holds them."
            )
        return tower, searched
    parts = path_parts(name)
    folders = [where.joinpath(*some) for where in (folder, folder.parent) for some in (parts, parts[-1:])]
    if prefix is None:
        searched.append(f"the weights in {folder} (no name ends in {TOWER_MARK})")
        towers = (_tower_in(place, searched) for place in dict.fromkeys(folders))
        return next((tower for tower in towers if tower is not None), None), searched
    for place in folders:
        if _has_config(place):
            return Tower(files, prefix, _vision_config(place)), searched
    if parts[-1].endswith(path_parts(PUBLISHED_VISION_TOWER)[-1]):
        return Tower(files, prefix, VisionConfig()), searched
    searched.append(
        f"the weights in {folder}, which hold a tower, but its geometry (a config.json) was not in "
        + " or ".join(map(str, folders))
    )
    return None, searched


def _tower_in(folder: Path, searched: list[str]) -> Tower | None:
    """The tower in a folder of its own; None, and why in ``searched``, where there is none."""
    if not _has_config(folder):
        searched.append(f"{folder} ({dangling([folder / 'config.json']) or 'no config.json there'})")
        return None
    try:
        files = WeightFiles.find(folder)
    except CheckpointError:
        searched.append(f"{folder} ({dangling(sorted(folder.iterdir())) or 'a config.json, but no weights'})")
        return None
    prefix = find_tower_prefix(files.names)
    if prefix is None:
        searched.append(f"{folder} (weights without {TOWER_MARK})")
        return None
    return Tower(files, prefix, _vision_config(folder))


def _vision_config(folder: Path) -> VisionConfig:
    config, preprocessor = folder / "config.json", folder / "preprocessor_config.json"
    return VisionConfig.from_dict(load_json(config), load_settings(preprocessor), str(config))


def _has_config(folder: Path) -> bool:
    """Whether there is one; a name that no file can have is that of none."""
    return os.path.isfile(folder / "config.json")
