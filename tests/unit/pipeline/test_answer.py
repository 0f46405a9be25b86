"""Batches of different questions on different pictures answer as the pipeline does one by one."""

from __future__ import annotations

from typing import Any

import pytest
from make_checkpoint import Geometry, make_checkpoint
from PIL import Image

from iaa_runtime import IAAPipeline
from iaa_runtime.boxes.grounding import parse_answer
from iaa_runtime.config import GenerationConfig, Task
from iaa_runtime.errors import ContextLengthError
from iaa_runtime.pipeline.base import Question, Request, TextAnswer
from iaa_runtime.text.prompts import grounding_question


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> IAAPipeline:
    return IAAPipeline.from_pretrained(make_checkpoint(tmp_path_factory.mktemp("checkpoint"), Geometry(context=640)))


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    sizes, colors = [(40, 30), (30, 60), (50, 50)], ["red", "green", "blue"]
    return [Image.new("RGB", size, color) for size, color in zip(sizes, colors, strict=True)]


def ask(
    pipeline: IAAPipeline, questions: list[Question], task: Task, config: GenerationConfig, **options: Any
) -> list[TextAnswer]:
    return pipeline.answer(questions, Request(task, config, **options))


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_captions_are_the_pipeline_s(rows: int, pipeline: IAAPipeline, pictures: list[Image.Image]) -> None:
    prompts = ["What is it?", "Describe this image.", "Colour?", "What is it?"]
    questions = [Question.about(p, q) for p, q in zip([*pictures, pictures[0]], prompts, strict=True)]
    config = GenerationConfig.for_task(Task.MM, max_new_tokens=9)
    answers = ask(pipeline, questions, Task.MM, config, batch_rows=rows)
    alone = [pipeline.caption([q.picture], p, max_new_tokens=9)[0] for q, p in zip(questions, prompts, strict=True)]
    assert [answer.text for answer in answers] == alone
    assert len(set(alone)) > 1


def test_a_stop_string_ends_the_answer(pipeline: IAAPipeline, pictures: list[Image.Image]) -> None:
    question = Question.about(pictures[0], "What is it?")
    config = GenerationConfig.for_task(Task.MM, max_new_tokens=12)
    whole = ask(pipeline, [question], Task.MM, config)[0]
    stop = whole.text[4]
    short = ask(pipeline, [question], Task.MM, GenerationConfig.for_task(Task.MM, max_new_tokens=12, stop=stop))[0]
    assert short.text == whole.text.split(stop)[0].rstrip()
    assert len(short.logprobs) < len(whole.logprobs)
    assert short.text == pipeline.caption([pictures[0]], "What is it?", max_new_tokens=12, stop=stop)[0]


def test_beams_are_the_pipeline_s(pipeline: IAAPipeline, pictures: list[Image.Image]) -> None:
    config = GenerationConfig.for_task(Task.MM, max_new_tokens=5, num_beams=2)
    answers = ask(pipeline, [Question.about(picture, "What?") for picture in pictures], Task.MM, config)
    assert [a.text for a in answers] == pipeline.caption(pictures, "What?", max_new_tokens=5, num_beams=2)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("grammar", [True, False])
def test_boxes_are_the_pipeline_s(rows: int, grammar: bool, pipeline: IAAPipeline, pictures: list[Image.Image]) -> None:
    phrases = ["left one", "cat", "the very last of them all"]
    config = GenerationConfig.for_task(Task.G, max_new_tokens=30)
    questions = [Question.about(p, grounding_question(phrase)) for p in pictures for phrase in phrases]
    answers = ask(pipeline, questions, Task.G, config, grammar=grammar, batch_rows=rows)
    expected = [
        answer
        for answers in pipeline.ground_answers(pictures, phrases, grammar=grammar, max_new_tokens=30)
        for answer in answers
    ]
    read = [
        parse_answer(e.phrase, a.tokens, a.logprobs, q.picture.size)
        for e, a, q in zip(expected, answers, questions, strict=True)
    ]
    assert [r.text for r in read] == [e.text for e in expected]
    for ours, theirs in zip(read, expected, strict=True):
        assert [d.xyxy for d in ours.detections] == [d.xyxy for d in theirs.detections]
        assert [d.score for d in ours.detections] == pytest.approx([d.score for d in theirs.detections], rel=1e-4)


def test_a_question_that_does_not_fit_is_an_error(pipeline: IAAPipeline, pictures: list[Image.Image]) -> None:
    config = GenerationConfig.for_task(Task.MM, max_new_tokens=4)
    with pytest.raises(ContextLengthError):
        ask(pipeline, [Question.about(pictures[0], "why? " * 200)], Task.MM, config)
