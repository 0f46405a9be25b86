"""Conversations whose task changes from turn to turn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from make_checkpoint import Geometry, make_checkpoint
from PIL import Image

from iaa_runtime import IAAPipeline, Task
from iaa_runtime.errors import Cancelled, ContextLengthError, InputError
from iaa_runtime.images.preprocess import preprocess
from iaa_runtime.text.conversation import Conversation

FEW = {"max_new_tokens": 5}
CONTEXT = 420


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> IAAPipeline:
    folder = tmp_path_factory.mktemp("chat") / "checkpoint"
    return IAAPipeline.from_pretrained(make_checkpoint(folder, Geometry(context=CONTEXT)))


@pytest.fixture(scope="module")
def photo(reference: Path) -> Image.Image:
    return Image.open(reference / "readpanda.jpg").convert("RGB")


def test_each_turn_is_the_models_answer_to_all_before(pipeline: IAAPipeline, photo: Image.Image) -> None:
    chat, talk = pipeline.chat(photo), Conversation()
    for text, task in (("What is it?", "MM"), ("How heavy?", "Text"), ("Where?", "G"), ("And now?", "MM")):
        ids = torch.tensor([talk.user(text).encode(pipeline.tokenizer, task)])
        pixels = preprocess([photo], 28) if task != "Text" else None
        new = pipeline.model.generate(ids, pixels, task=task, eos_token_id=[pipeline.eos], **FEW)
        expected = pipeline.tokenizer.decode(new[0].tolist(), skip_special_tokens=True).strip()
        turn = chat.say(text, task, **FEW)
        assert (turn.reply.text, turn.task, turn.question, turn.forgotten) == (expected, Task.parse(task), text, 0)
        talk.assistant(expected)
    assert chat.conversation.to_list() == talk.to_list()
    assert [turn.question for turn in chat.turns] == ["What is it?", "How heavy?", "Where?", "And now?"]


def test_a_chat_without_an_image_talks_all_the_same(pipeline: IAAPipeline, photo: Image.Image) -> None:
    chat = pipeline.chat()
    without = chat.say("Hello", "MM", **FEW).reply.text
    assert chat.say("Where?", "G", **FEW).reply.detections == ()
    chat.clear()
    assert chat.turns == []
    chat.image = photo
    assert chat.say("Hello", "MM", **FEW).reply.text != without


def test_the_system_prompt_may_be_another_or_none(pipeline: IAAPipeline) -> None:
    answers = {pipeline.chat(system=system).say("Hello", "Text", **FEW).reply.text for system in (None, "Be brief.")}
    assert len(answers) == 2


def test_nothing_is_remembered_of_a_turn_that_is_cancelled(pipeline: IAAPipeline) -> None:
    chat = pipeline.chat()
    chat.say("one", "Text", **FEW)
    before = chat.conversation.to_list()
    with pytest.raises(Cancelled):
        chat.say("two", "Text", cancelled=lambda: True, **FEW)
    assert (chat.conversation.to_list(), len(chat.turns)) == (before, 1)
    assert chat.say("three", "Text", **FEW).question == "three"


def test_the_oldest_turns_are_forgotten_when_the_context_is_full(pipeline: IAAPipeline) -> None:
    chat = pipeline.chat()
    forgotten = [chat.say(f"{number}: " + "word " * 10, "Text", max_new_tokens=20).forgotten for number in range(6)]
    assert sum(forgotten) > 0
    kept = chat.conversation.messages
    assert kept[0].role == "system"
    assert kept[1].content.startswith(f"{sum(forgotten)}: ")
    assert len(kept) == 1 + 2 * (6 - sum(forgotten))
    assert len(chat.turns) == 6, "what was said can still be shown and saved"


def test_a_message_too_long_for_any_context(pipeline: IAAPipeline) -> None:
    chat = pipeline.chat()
    chat.say("short", "Text", **FEW)
    with pytest.raises(ContextLengthError, match=f"context is {CONTEXT}"):
        chat.say("word " * 200, "Text", **FEW)
    assert len(chat.turns) == 1
    assert len(chat.conversation.messages) == 3


def test_unknown_options_are_refused_before_anything_is_said(pipeline: IAAPipeline) -> None:
    with pytest.raises(InputError, match="no generation option lenght"):
        pipeline.chat().say("Hello", "Text", lenght=3)


def test_a_conversation_goes_on_where_another_stopped(pipeline: IAAPipeline) -> None:
    from iaa_runtime.pipeline.chat import Chat

    chat = pipeline.chat()
    chat.say("one", "Text", **FEW)
    saved = chat.conversation.to_list()
    restored = Chat(pipeline, conversation=Conversation.from_list(saved))
    assert restored.say("two", "Text", **FEW).reply == chat.say("two", "Text", **FEW).reply
