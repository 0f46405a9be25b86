"""The exported reference checkpoint in vLLM, asked by our remote pipeline: the greedy tokens of our own."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from vllm_server import needs_vllm, serving

from iaa_runtime import IAAPipeline
from iaa_runtime.checkpoint.checkpoint import Checkpoint
from iaa_runtime.config import GenerationConfig, Task
from iaa_runtime.export import export
from iaa_runtime.images.load import load_image
from iaa_runtime.pipeline.base import Question, Request
from iaa_runtime.pipeline.remote import RemotePipeline
from iaa_runtime.pipeline.remote.messages import chat_messages, data_url
from iaa_runtime.text.conversation import Conversation
from iaa_runtime.text.prompts import grounding_question
from iaa_runtime.text.streaming import BROKEN

PICTURES = ("readpanda.jpg", "COCO_train2014_000000014502.jpg")
QUESTIONS = ("Describe this image.", "Is there a cat? <|eot_id|>", "Ein Bär, größer als 3 m?")
TOKENS = 48


@needs_vllm
@pytest.mark.slow
@pytest.mark.parametrize("task", ["MM", "G", "Text"])
def test_vllm_answers_with_our_greedy_tokens(reference: Path, tmp_path: Path, task: str) -> None:
    local = IAAPipeline.from_pretrained(reference / "checkpoint")
    folder = export(Checkpoint(reference / "checkpoint"), task, tmp_path / f"iaa-{task.lower()}")
    with serving(folder, tmp_path / "vllm.log") as address:
        remote = RemotePipeline.connect([address])
        assert list(remote.tasks) == [Task.parse(task)]
        assert remote.context == local.context
        for question in QUESTIONS:
            for system in (None, "Be brief."):
                talk = Conversation(system).user(question.replace("<|", "< |"))
                for name in PICTURES if task != "Text" else (None,):
                    picture = load_image(reference / name) if name else None
                    ids = said_by_vllm(address, folder.name, talk, picture)
                    assert ids == said_here(local, talk, task, picture)
                    options = {"max_new_tokens": TOKENS}
                    here = local.reply(talk, task, picture, **options)
                    there = remote.reply(Conversation(system).user(question), task, picture, **options)
                    assert there.text == here.text.rstrip(BROKEN), "vLLM says no half character at the end"
        if task == "G":
            boxes_agree(local, remote, reference / PICTURES[0])


def said_here(local: IAAPipeline, talk: Conversation, task: str, picture: Any) -> list[int]:
    """Our token ids, without the end."""
    said: list[int] = []
    local.reply(talk, task, picture, max_new_tokens=TOKENS, on_token=lambda _, token: said.append(token))
    return [token for token in said if token != local.eos]


def said_by_vllm(address: str, model: str, talk: Conversation, picture: Any) -> list[int]:
    """The ids of vLLM's tokens, which it tells besides."""
    body = {
        "model": model,
        "messages": chat_messages(talk, data_url(picture) if picture else None),
        "temperature": 0,
        "max_tokens": TOKENS,
        "return_token_ids": True,
    }
    request = urllib.request.Request(
        f"{address}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        (choice,) = json.loads(answer.read())["choices"]
    ids = list(choice["token_ids"])
    return ids[:-1] if choice["finish_reason"] == "stop" else ids


def boxes_agree(local: IAAPipeline, remote: RemotePipeline, photo: Path) -> None:
    """The grammar holds there as here. These weights are random and want no box, which scores 0 from a server."""
    config = GenerationConfig.for_task(Task.G, max_new_tokens=40)
    question = Question.about(load_image(photo), grounding_question("red panda"))
    (here,), (there,) = (
        pipeline.answer([question], Request(Task.G, config, grammar=True, several=False))
        for pipeline in (local, remote)
    )
    assert there.text == here.text
    (one,) = local.ground(photo, "red panda", several=False, max_new_tokens=40)
    (two,) = remote.ground(photo, "red panda", several=False, max_new_tokens=40)
    assert [d.xyxy for d in one] == [d.xyxy for d in two]
    assert [d.score < 0.01 for d in one] == [d.score == 0 for d in two] == [True]


@needs_vllm
@pytest.mark.slow
@pytest.mark.parametrize("task", ["MM", "Text"])
def test_vllm_rates_choices_as_we_do(reference: Path, tmp_path: Path, task: str) -> None:
    local = IAAPipeline.from_pretrained(reference / "checkpoint")
    folder = export(Checkpoint(reference / "checkpoint"), task, tmp_path / f"iaa-{task.lower()}")
    images = [reference / name for name in PICTURES] if task == "MM" else None
    with serving(folder, tmp_path / "vllm.log") as address:
        remote = RemotePipeline.connect([address])
        for choices in (["yes", "no"], ["a red panda in a tree", "Katze", "3 m, or more"]):
            here, there = (pipeline.choose(images, "What is it?", choices) for pipeline in (local, remote))
            for one, other in zip(here, there, strict=True):
                assert other.probabilities == pytest.approx(one.probabilities, abs=1e-3)
