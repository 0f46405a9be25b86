"""Servers that are asked how likely given answers are: vLLM's way and llama.cpp's."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from model_server import BOX, Exchange, refuses, says, serving
from PIL import Image

from iaa_runtime import RemotePipeline
from iaa_runtime.errors import Cancelled, RemoteError

LIKELY = {
    "yes": ((" yes", -0.25),),
    "a dark red": (("a", -1.0), (" dark", -0.5), (" red", -0.75)),
    "no": (("no", -2.0),),
    "Yes": (("Yes", -9.0),),
    "No": (("No", -9.0),),
}


def rates(exchange: Exchange, body: dict[str, Any]) -> None:
    """As vLLM does: the probabilities of the prompt's tokens, of which the answer is the end."""
    answer = body["messages"][-1]["content"]
    tokens = (("Hi", -3.0), ("\n\n", -0.1), *LIKELY[answer])
    told = [None, *({str(n): {"logprob": p, "rank": 1, "decoded_token": text}} for n, (text, p) in enumerate(tokens))]
    exchange.send(200, json.dumps({"choices": [{"message": {"content": "."}}], "prompt_logprobs": told}))


def lists_llama_cpp(exchange: Exchange, body: dict[str, Any]) -> None:
    """Names models as llama.cpp does."""
    names = [{"id": name, "owned_by": "llamacpp"} for name in exchange.server.models]
    exchange.send(200, json.dumps({"data": names}))


def test_vllm_is_given_the_answer_and_tells_its_tokens() -> None:
    with serving("iaa-mm") as server:
        server.behaves(rates)
        pictures = [Image.new("RGB", (8, 8)), Image.new("RGB", (9, 9))]
        chosen = RemotePipeline.connect([server.url]).choose(pictures, "Which?", ["a dark red", "yes"])
    assert [choice.text for choice in chosen] == ["yes", "yes"]
    assert chosen[0].probabilities[1] == pytest.approx(1 / (1 + math.exp(-0.75 + 0.25)))
    assert len(server.bodies) == 4
    assert server.bodies[0]["continue_final_message"] is True
    assert server.bodies[0]["add_generation_prompt"] is server.bodies[0]["stream"] is False


def test_llama_cpp_is_made_to_say_the_answer() -> None:
    with serving("iaa-text") as server:
        server.lists = lists_llama_cpp
        server.behaves(says("a", ' "', "b", "<|eot_id|>", logprob=-0.5), says("no", logprob=-1.5))
        pipeline = RemotePipeline.connect([server.url], concurrency=1)
        (choice,) = pipeline.choose(None, "Which?", ['a "b', "no"])
    assert choice.probabilities[0] == pytest.approx(1 / (1 + math.exp(-1)))
    assert [body["grammar"] for body in server.bodies] == ['root ::= "a \\"b"', 'root ::= "no"']


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (refuses(200, json.dumps({"choices": []})), "tells no probabilities"),
        (refuses(200, json.dumps({"prompt_logprobs": None})), "tells no probabilities"),
        (refuses(200, "<html>"), "tells no probabilities"),
        (refuses(200, json.dumps({"prompt_logprobs": [{"1": {"decoded_token": "no", "logprob": "x"}}]})), "no proba"),
        (refuses(200, json.dumps({"prompt_logprobs": [{"1": {"decoded_token": "x", "logprob": -1}}]})), "another answ"),
    ],
)
def test_a_server_that_does_not_rate_says_so(behaviour: Any, said: str) -> None:
    with serving("iaa-text") as server, pytest.raises(RemoteError, match=said):
        server.behaves(behaviour)
        RemotePipeline.connect([server.url]).choose(None, "Which?", ["yes", "no"])


def test_it_can_be_cancelled() -> None:
    with serving("iaa-text") as server, pytest.raises(Cancelled):
        server.behaves(rates)
        RemotePipeline.connect([server.url]).choose(None, "Which?", ["yes", "a dark red"], cancelled=lambda: True)


def test_ground_with_a_check_asks_mm() -> None:
    with serving("iaa-g") as boxes, serving("iaa-mm") as words:
        boxes.behaves(says(*BOX, logprob=-0.5))
        words.behaves(rates)
        pipeline = RemotePipeline.connect([boxes.url, words.url])
        ((found,),) = pipeline.ground(Image.new("RGB", (8, 8)), "the dog", check=True)
        ((plain,),) = pipeline.ground(Image.new("RGB", (8, 8)), "the dog")
    weights = [math.exp(p) for p in (-0.25, -2.0, -9.0, -9.0)]
    assert found.score == pytest.approx(plain.score * (weights[0] + weights[2]) / sum(weights))
