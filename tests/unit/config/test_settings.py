"""Files of settings beside the checkpoint's own: broken ones are told of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iaa_runtime.config.settings import SETTINGS, load_settings
from iaa_runtime.errors import CheckpointError, ConfigError


@pytest.mark.parametrize("name", SETTINGS)
def test_absent_or_unknown_settings_are_fine(tmp_path: Path, name: str) -> None:
    assert load_settings(tmp_path / name) == {}
    settings = dict.fromkeys(SETTINGS[name]) | {"something_else": [1]}
    (tmp_path / name).write_text(json.dumps(settings))
    assert load_settings(tmp_path / name) == settings


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("content", ["", "{", "[]", "5", "\xff"])
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointError, match=name):
        load_settings(tmp_path / name)


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in SETTINGS.items() for key in keys])
def test_a_setting_of_the_wrong_kind_is_named(tmp_path: Path, name: str, key: str) -> None:
    wrong = {"text": {str}, "5": {int, float}, "true": {bool}, "[]": {list}, "{}": {dict}}
    values = {"text": "x", "5": 5, "true": True, "[]": [], "{}": {}}
    refused = [value for value, kinds in wrong.items() if not kinds & set(SETTINGS[name][key])]
    assert len(refused) >= 3
    for value in refused:
        (tmp_path / name).write_text(json.dumps({key: values[value]}))
        with pytest.raises(ConfigError, match=rf"{name} sets '{key}' to .*, which is not "):
            load_settings(tmp_path / name)
