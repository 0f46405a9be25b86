"""Caching, progress, live text and Cancel on a running ComfyUI."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest
from comfyui_server import Client, Graph, PromptError, node

TINY = "sub/tiny"


def caption_graph(checkpoint: str, **inputs: Any) -> Graph:
    """A caption of a small scene."""
    return {
        "scene": node("IAA_DemoScene", seed=1, width=96, height=64),
        "loader": node("IAA_Loader", checkpoint=checkpoint),
        "caption": node("IAA_Caption", model=["loader", 0], image=["scene", 0], **inputs),
    }


def ground_graph(count: int, phrases: str, checkpoint: str = TINY, **inputs: Any) -> Graph:
    """Phrases in a batch of small scenes."""
    return {
        "scene": node("IAA_DemoScene", seed=1, width=96, height=64, count=count),
        "loader": node("IAA_Loader", checkpoint=checkpoint),
        "ground": node("IAA_Ground", model=["loader", 0], image=["scene", 0], phrases=phrases, **inputs),
    }


def random_sampling(seed: int) -> dict[str, Any]:
    """Inputs that draw words at random."""
    return {"sampling": "random", "sampling__temperature": 1.0, "sampling__seed": seed}


def test_a_second_run_does_not_call_the_model(client: Client) -> None:
    graph = ground_graph(1, "the star")
    first, second = client.run(graph), client.run(graph)
    assert first.status == second.status == "success"
    assert "ground" in first.executed
    assert second.cached == set(graph) and second.executed == set()
    assert second.outputs["ground"] == first.outputs["ground"], "remembered results are shown again"
    graph["ground"]["inputs"]["phrases"] = "the ring"
    third = client.run(graph)
    assert third.executed == {"ground"}, "a new phrase asks the model, and loads nothing"


def test_equal_nodes_share_one_answer_and_both_show_it(client: Client) -> None:
    """ComfyUI asks the model once for both; that needs no ``not_idempotent``, since answers depend on inputs alone."""
    client.free()
    graph = caption_graph(TINY, max_new_tokens=4)
    graph["again"] = graph["caption"]
    run = client.run(graph)
    assert len({"caption", "again"} & {name for name, _ in run.texts}) == 1
    assert run.outputs["caption"]["text"] == run.outputs["again"]["text"] != []


def test_seeds(client: Client) -> None:
    def said(seed: int) -> str:
        run = client.run(caption_graph(TINY, max_new_tokens=16, **random_sampling(seed)))
        return str(run.outputs["caption"]["text"])

    first = said(1)
    assert said(2) != first
    client.free()
    assert said(1) == first


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"sampling__temperature": 0.0}, "smaller than min"),
        ({"sampling__top_p": 1.5}, "bigger than max"),
        ({"preset": "poem"}, "There is no preset 'poem'"),
    ],
)
def test_options_out_of_range_are_refused(client: Client, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(PromptError, match=says):
        client.run(caption_graph(TINY, **({"sampling": "random"} | wrong)))


def test_text_appears_while_it_is_written(client: Client) -> None:
    client.free()
    run = client.run(caption_graph(TINY, max_new_tokens=200))
    shown = [text for name, text in run.texts if name == "caption"]
    assert len(shown) > 2
    assert all(later.startswith(earlier) for earlier, later in pairwise(shown))
    assert shown[-1] == run.outputs["caption"]["text"][0]


def test_one_progress_bar_for_a_batch(client: Client) -> None:
    run = client.run(ground_graph(60, "the star\nthe ring"))  # long enough: the server leaves out what comes fast
    bars = [data for data in run.of("progress") if data["prompt_id"] == run.prompt_id]
    assert {data["node"] for data in bars} == {"ground"}
    assert len({data["max"] for data in bars}) == 1
    values = [data["value"] for data in bars]
    assert len(values) > 5 and values == sorted(values) and values[-1] == bars[-1]["max"]


def cancelled_after(client: Client, graph: Graph) -> float:
    """Cancels a graph once its answer is under way; returns the seconds from there to the end."""
    pressed: list[float] = []

    def press(kind: str, data: dict[str, Any]) -> None:
        if kind == "progress" and not pressed:
            client.interrupt()
            pressed.append(time.monotonic())

    run = client.run(graph, press)
    ended = time.monotonic()
    assert run.status == "interrupted"
    return ended - pressed[0]


def test_cancel_in_the_middle_of_an_answer(client: Client, gigabyte: str) -> None:
    graph = caption_graph(gigabyte, max_new_tokens=1500)
    assert cancelled_after(client, graph) < 3, "1500 tokens of this checkpoint take minutes"
    graph["caption"]["inputs"]["max_new_tokens"] = 2
    run = client.run(graph)
    assert run.status == "success" and run.outputs["caption"]["text"]


def test_cancel_in_the_middle_of_a_batch(client: Client) -> None:
    phrases = "\n".join(f"the shape number {number}" for number in range(20))
    graph = ground_graph(40, phrases)
    assert cancelled_after(client, graph) < 3
    graph["ground"]["inputs"]["phrases"] = "the star"
    assert client.run(graph).status == "success"
