"""Different questions about different pictures, answered as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from ..config import GenerationConfig, Task
from ..generation.grammar import grammar_for
from ..generation.prefill import Prompt
from ..images.load import preprocess
from ..pipeline.local import IAAPipeline
from ..pipeline.remote import RemotePipeline
from ..text.conversation import Conversation
from ..text.streaming import TextStream
from ..text.tokenizer import token_texts


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked about a picture; questions on one picture hold the same object, which then is looked at once."""

    picture: Image.Image
    text: str


@dataclass(frozen=True)
class Answered:
    """One answer: its text, what each token says, and each token's log-probability."""

    text: str
    pieces: list[str]
    logprobs: list[float]


def ask(
    pipeline: IAAPipeline | RemotePipeline,
    questions: Sequence[Question],
    task: Task,
    config: GenerationConfig,
    *,
    grammar: bool = False,
    several: bool = True,
    batch_rows: int = 8,
) -> list[Answered]:
    """Answers every question; the answers are those of asking one by one.

    Args:
        pipeline: who answers.
        questions: rows; as many as fit are answered at once.
        task: MM or G.
        config: how answers are decoded.
        grammar: hold answers to ``[x1,y1,x2,y2]; …``.
        several: let the grammar allow more than one box.
        batch_rows: rows answered at once; servers are asked as many at once as the pipeline says.

    Returns:
        An answer a question.

    Raises:
        ContextLengthError: a question does not fit into the context.
        RemoteError: a server does not answer as it should.
    """
    if isinstance(pipeline, RemotePipeline):
        asked = [(q.picture, q.text) for q in questions]
        said = pipeline.ask(asked, task, config, grammar=grammar, several=several)
        return [Answered(answer.text, answer.pieces, answer.logprobs) for answer in said]
    model, tokenizer = pipeline.model, pipeline.tokenizer
    constraint = grammar_for(tokenizer, model.config.vocab_size, pipeline.eos, several) if grammar else None
    answered: list[Answered] = []
    for start in range(0, len(questions), batch_rows):
        chunk = questions[start : start + batch_rows]
        prompts = _prompts(pipeline, chunk, task)
        streams = [TextStream(tokenizer, config.stop) for _ in chunk]

        def stopped(row: int, token: int, streams: list[TextStream] = streams) -> bool:
            streams[row].push(token)
            return streams[row].stopped

        # Beams change their minds, so their text is read at the end.
        on_token = stopped if config.stop and config.num_beams == 1 else None
        answers = model.answer(prompts, task, config, [pipeline.eos], constraint=constraint, on_token=on_token)
        for answer in answers:
            text = TextStream(tokenizer, config.stop).read(answer.ids)
            answered.append(Answered(text, token_texts(tokenizer, answer.ids), answer.logprobs))
    return answered


def _prompts(pipeline: IAAPipeline, questions: Sequence[Question], task: Task) -> list[Prompt]:
    vision = pipeline.model.vision
    pictures = list({id(q.picture): q.picture for q in questions}.values())
    pixels = preprocess(pictures, vision.image_size, vision.image_mean, vision.image_std)
    features = pipeline.model.project(pipeline.vision_cache.features(pixels), task)
    encoded = dict(zip(map(id, pictures), features, strict=True))
    return [
        Prompt(tuple(Conversation().user(q.text).encode(pipeline.tokenizer, task)), encoded[id(q.picture)])
        for q in questions
    ]
