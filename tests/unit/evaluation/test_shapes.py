"""Counts and intervals of the measures of the demo's scenes."""

from __future__ import annotations

import math

from iaa_runtime.evaluation.shapes import MEANINGS, details
from iaa_runtime.evaluation.statistics import wilson_interval
from iaa_runtime.shapes.evaluate import Tally


def test_every_measure_has_a_count_an_interval_that_holds_it_and_a_meaning() -> None:
    tally = Tally(
        singles=[(1.5, 0.9, 0.5, "star"), (1.2, 0.3, 0.0, "ring"), (2.0, 0.7, 0.4, "star")],
        absent_scores=[0.0, 0.2],
        other_scores=[0.0],
        boxes=[3, 4, 5],
        objects=[6, 7, 8],
        full_captions=[True, False],
        kinds={"count": [2, 3], "color": [1, 1]},
        text_kinds={"sum": [1, 4]},
    )
    measures, found = tally.report(), details(tally)
    assert measures.keys() == found.keys()
    assert {name for name in measures if "/" not in name} == MEANINGS.keys()
    for name, detail in found.items():
        if detail["interval_95"]:
            low, high = detail["interval_95"]
            assert low <= measures[name] <= high, name
    assert found["vqa"] == {"count": 4, "interval_95": list(wilson_interval(3, 4))}
    assert found["single_precision/star"]["count"] == 2 and found["caption_recall"]["count"] == 8
    assert found["several_f1"] == {"count": 5, "interval_95": None}


def test_nothing_that_was_asked_has_no_interval() -> None:
    assert details(Tally())["vqa"] == {"count": 0, "interval_95": None}
    assert math.isnan(Tally().report()["vqa"])
