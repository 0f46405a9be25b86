"""Names of tensors: ours and the published ones, to and fro, and where a stack's blocks stand."""

from __future__ import annotations

import pytest
from make_checkpoint import Geometry

from iaa_runtime.checkpoint import names
from iaa_runtime.config import BANK_NAMES, IAAConfig, Task


def test_every_published_name_is_ours_in_one_bank_and_back() -> None:
    stored = [*Geometry().language_shapes(), *Geometry().tower_shapes()]
    assert names.unknown_names(stored) == []
    assert names.find_tower_prefix(stored) == names.CLIP_PREFIX
    ours = {
        bank: names.names_in(bank, [*stored, "model.layers.0.self_attn.rotary_emb.inv_freq"]) for bank in BANK_NAMES
    }
    assert sorted(name for bank in ours.values() for name in bank.values()) == sorted(stored)
    for bank, found in ours.items():
        assert {names.published_name(bank, name): name for name in found} == {
            theirs: name for name, theirs in found.items()
        }
    with pytest.raises(KeyError):
        names.published_name("base", "lm_head.weight")


def test_a_whole_clips_text_model_is_no_tower() -> None:
    assert names.find_tower_prefix(["text_model.embeddings.class_embedding", "logit_scale"]) is None


@pytest.mark.parametrize(("task", "expected"), [(Task.G, ([0, 2, 3, 5], [1, 4, 6])), (Task.TEXT, ([0, 1, 2, 3], []))])
def test_positions_of_blocks(task: Task, expected: tuple[list[int], list[int]]) -> None:
    config = IAAConfig.from_dict(Geometry(insert_layers=(0, 2, 3)).config(), "config.json")
    assert names.block_positions(config, task) == expected
