"""Images and words in, words and boxes out, on a small random checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from make_checkpoint import Geometry, make_checkpoint
from PIL import Image

from iaa_runtime import IAAPipeline, Task
from iaa_runtime.boxes.answers import parse_boxes
from iaa_runtime.errors import Cancelled, CheckpointError, ContextLengthError, InputError, NumericsError
from iaa_runtime.images.picture import ArrayPicture
from iaa_runtime.pipeline.vision_cache import VisionCache
from iaa_runtime.text.conversation import Conversation

PHOTO = Path(__file__).parents[2] / "reference" / "readpanda.jpg"
FEW = {"max_new_tokens": 6}
BOXES = {"max_new_tokens": 40}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> IAAPipeline:
    folder = tmp_path_factory.mktemp("pipeline") / "checkpoint"
    return IAAPipeline.from_pretrained(make_checkpoint(folder, Geometry(context=600)))


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Three pictures of three shapes and looks."""
    noise = torch.randint(0, 256, (31, 90, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return [Image.open(PHOTO).convert("RGB"), Image.new("RGB", (40, 70), "red"), Image.fromarray(noise.numpy())]


def towers(pipeline: IAAPipeline, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Forgets all images and returns a list that grows by the size of each batch that goes through the tower."""
    pipeline.vision_cache.clear()
    seen: list[int] = []
    whole = pipeline.model.vision_features
    monkeypatch.setattr(pipeline.model, "vision_features", lambda pixels: (seen.append(len(pixels)), whole(pixels))[1])
    return seen


def test_another_models_tokenizer_is_refused(tmp_path: Path) -> None:
    pipeline = IAAPipeline.from_pretrained(make_checkpoint(tmp_path / "checkpoint", Geometry(vocab_size=200)))
    with pytest.raises(CheckpointError, match=r"token 2\d\d, but the model knows 200"):
        pipeline.text("a")


@pytest.mark.parametrize("options", [{}, {"num_beams": 2, "grammar": False}], ids=["greedy", "beams"])
def test_nan_is_an_error_and_no_box_of_full_confidence(
    options: dict[str, Any], pictures: list[Image.Image], tmp_path: Path
) -> None:
    pipeline = IAAPipeline.from_pretrained(make_checkpoint(tmp_path / "checkpoint"))
    pipeline.model.bank("g").get_parameter("norm.weight").fill_(float("nan"))
    with pytest.raises(NumericsError, match=r"NaN.*torch\.float32"):
        pipeline.ground(pictures[:1], "a", **BOXES | options)


class Counted(ArrayPicture):
    """A picture that counts how many of its rows are looked at."""

    rows = 0

    def crop(self, box: Sequence[int]) -> Image.Image:
        self.rows += box[3] - box[1]
        return super().crop(box)


def test_a_picture_is_converted_once_whatever_is_asked_about_it(pipeline: IAAPipeline) -> None:
    picture, other = Counted(torch.full((1500, 1000, 3), 0.5)), Counted(torch.zeros(30, 20, 3))
    phrases = [f"number {number}" for number in range(5)]
    found = pipeline.ground([picture, other], phrases, batch_rows=2, **BOXES)
    assert len(found) == 2 and (picture.rows, other.rows) == (1500, 30)


def test_a_tensor_is_answered_about_as_its_picture_is(pipeline: IAAPipeline, pictures: list[Image.Image]) -> None:
    tensors = [torch.from_numpy(np.array(picture)).float() / 255 for picture in pictures]
    assert pipeline.caption(tensors, **FEW) == pipeline.caption(pictures, **FEW)
    assert pipeline.ground(tensors, "a", **BOXES) == pipeline.ground(pictures, "a", **BOXES)
    said = [chat.say("What?", **FEW).reply for chat in map(pipeline.chat, (tensors[0], pictures[0]))]
    assert said[0] == said[1]


def test_cancel_is_heard_while_pictures_are_converted(pipeline: IAAPipeline) -> None:
    picture = Counted(torch.full((3000, 2000, 3), 0.5))
    with pytest.raises(Cancelled):
        pipeline.caption(picture, cancelled=lambda: picture.rows > 0)
    assert picture.rows < 3000


def test_captions_of_a_batch_are_those_of_each(pipeline: IAAPipeline, pictures: list[Image.Image]) -> None:
    alone = [pipeline.caption(picture, **FEW)[0] for picture in pictures]
    assert len(set(alone)) > 1, "random as the weights are, the pictures must matter"
    assert pipeline.caption(pictures, **FEW) == alone
    assert pipeline.caption(pictures, batch_rows=2, **FEW) == alone
    assert pipeline.caption([], **FEW) == []


def test_a_caption_is_the_models_answer_to_the_published_prompt(
    pipeline: IAAPipeline, pictures: list[Image.Image]
) -> None:
    from iaa_runtime.images.preprocess import preprocess

    ids = Conversation().user("What is it?").encode(pipeline.tokenizer, Task.MM)
    new = pipeline.model.generate(
        torch.tensor([ids]), preprocess([pictures[0]], 28), task="MM", eos_token_id=[260], **FEW
    )
    text = pipeline.tokenizer.decode(new[0].tolist(), skip_special_tokens=True).strip()
    assert pipeline.caption(str(PHOTO), "What is it?", **FEW) == [text]


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"stop": ("e", "\x00")}], ids=str)
def test_streamed_pieces_make_up_each_caption(
    pipeline: IAAPipeline, pictures: list[Image.Image], options: dict[str, Any]
) -> None:
    streamed, tokens = ["", "", ""], [0, 0, 0]

    def listen(row: int, piece: str) -> None:
        streamed[row] += piece

    def count(row: int, token: int) -> None:
        tokens[row] += 1

    captions = pipeline.caption(pictures, on_text=listen, on_token=count, batch_rows=2, **FEW, **options)
    assert streamed == captions
    assert all(0 < n <= 6 for n in tokens)


def test_every_phrase_in_every_image(pipeline: IAAPipeline, pictures: list[Image.Image]) -> None:
    phrases = ["red panda", "branch"]
    answers = pipeline.ground_answers(pictures, phrases, **BOXES)
    assert [[answer.phrase for answer in row] for row in answers] == [phrases] * 3
    for picture, row in zip(pictures, answers, strict=True):
        for answer in row:
            assert len(answer.detections) == len(parse_boxes(answer.text)) >= 1
            for found in answer.detections:
                assert 0 <= found.x < found.x + found.width <= picture.width
                assert 0 <= found.y < found.y + found.height <= picture.height
                assert found.label == answer.phrase
                assert 0 < found.score <= 1
    flat = [[d for answer in row for d in answer.detections] for row in answers]
    assert pipeline.ground(pictures, phrases, **BOXES) == flat
    (alone,) = pipeline.ground(pictures[0], "red panda", **BOXES)
    assert [d.xyxy for d in alone] == [d.xyxy for d in answers[0][0].detections]
    assert [d.score for d in alone] == pytest.approx([d.score for d in answers[0][0].detections], rel=1e-4)
    middle = sorted(d.score for row in flat for d in row)[3]
    assert pipeline.ground(pictures, phrases, threshold=middle, **BOXES) == [
        [d for d in row if d.score >= middle] for row in flat
    ]


def test_each_image_may_have_phrases_of_its_own(pipeline: IAAPipeline, pictures: list[Image.Image]) -> None:
    own: list[list[str]] = [["red panda", "branch"], [], ["a"]]
    rows: list[int] = []
    found = pipeline.ground(pictures, own, on_token=lambda row, token: rows.append(row), **BOXES)
    alone = [pipeline.ground(pictures[0], own[0], **BOXES)[0], [], pipeline.ground(pictures[2], "a", **BOXES)[0]]
    assert [[(d.label, d.xyxy) for d in row] for row in found] == [[(d.label, d.xyxy) for d in row] for row in alone]
    assert set(rows) == {0, 1, 2}, "an answer a phrase"
    with pytest.raises(InputError, match="2 lists of phrases for 3 images"):
        pipeline.ground(pictures, own[:2], **BOXES)
    assert pipeline.ground([], "a") == []


def test_each_image_may_have_a_question_of_its_own(pipeline: IAAPipeline, pictures: list[Image.Image]) -> None:
    asked = ["What?", "Who is it?", "Where?"]
    alone = [pipeline.caption(picture, prompt, **FEW)[0] for picture, prompt in zip(pictures, asked, strict=True)]
    assert pipeline.caption(pictures, asked, **FEW) == alone != pipeline.caption(pictures, asked[0], **FEW)
    with pytest.raises(InputError, match="2 prompts for 3 images"):
        pipeline.caption(pictures, asked[:2], **FEW)


def test_what_is_asked_twice_is_found_once(pipeline: IAAPipeline, pictures: list[Image.Image]) -> None:
    rows: list[int] = []
    found = pipeline.ground(pictures, ["a", "b", "a", " a. "], on_token=lambda row, token: rows.append(row), **BOXES)
    assert found == pipeline.ground(pictures, ["a", "b"], **BOXES)
    assert set(rows) == set(range(6)), "nor is it looked for twice"
    (answers,) = pipeline.ground_answers(pictures[0], ["a", "a"], **BOXES)
    assert len(answers) == 2, "an answer a phrase"


@pytest.mark.slow
def test_phrases_alone_in_small_batches_and_at_once_are_alike(
    pipeline: IAAPipeline, pictures: list[Image.Image]
) -> None:
    phrases = ["a", "the red one on the left", "panda"]
    alone = [
        [pipeline.ground_answers(picture, phrase, **BOXES)[0][0].text for phrase in phrases] for picture in pictures
    ]
    for rows in (1, 2, 9):
        together = pipeline.ground_answers(pictures, phrases, batch_rows=rows, **BOXES)
        assert [[answer.text for answer in row] for row in together] == alone


def test_one_box_at_most(pipeline: IAAPipeline) -> None:
    for row in pipeline.ground_answers(str(PHOTO), ["a", "b", "c"], several=False, **BOXES):
        assert [len(answer.detections) for answer in row] == [1, 1, 1]


def test_a_stop_string_ends_boxes_too(pipeline: IAAPipeline, pictures: list[Image.Image]) -> None:
    free = [row[0] for row in pipeline.ground_answers(pictures, "b", **BOXES)]
    stopped = [row[0] for row in pipeline.ground_answers(pictures, "b", stop=",", **BOXES)]
    for whole, part in zip(free, stopped, strict=True):
        assert (len(whole.detections), part.detections) == (1, ())
        assert part.text == whole.text[: whole.text.index(",") + 1]


def test_without_grammar_the_model_says_what_it_likes(pipeline: IAAPipeline) -> None:
    ((answer,),) = pipeline.ground_answers(str(PHOTO), "cat", grammar=False, **FEW)
    assert answer.detections == ()
    ((beams,),) = pipeline.ground_answers(str(PHOTO), "cat", grammar=False, num_beams=2, **FEW)
    assert beams.detections == ()


def test_beams_that_spell_a_box_have_scores(pipeline: IAAPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    # A random model never writes a box, so its head is made to: one word follows another whatever came before.
    from iaa_runtime.model.stack import Stack

    wanted = [*pipeline.tokenizer.encode("[0.1,0.2,0.8,0.9]", add_special_tokens=False), pipeline.eos]
    step = iter([*wanted, *wanted])
    real = Stack.logits

    def forced(self: Stack, hidden: torch.Tensor) -> torch.Tensor:
        logits = real(self, hidden)
        logits[:, next(step)] += 50
        return logits

    monkeypatch.setattr(Stack, "logits", forced)
    ((answer,),) = pipeline.ground_answers(str(PHOTO), "cat", grammar=False, num_beams=2, **BOXES)
    (found,) = answer.detections
    assert found.score > 0.99


def test_an_image_goes_through_the_tower_once(
    pipeline: IAAPipeline, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = towers(pipeline, monkeypatch)
    pipeline.ground(pictures[:2], ["a", "b", "c"], batch_rows=2, **BOXES)
    pipeline.caption(pictures[0], **FEW)
    chat = pipeline.chat(pictures[1])
    chat.say("What?", **FEW)
    chat.say("Where?", "G", **FEW)
    assert sum(seen) == 2
    pipeline.caption(pictures, **FEW)
    assert sum(seen) == 3


def test_the_vision_cache_forgets_the_oldest(pipeline: IAAPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = towers(pipeline, monkeypatch)
    cache = VisionCache(pipeline.model, size=2)
    a, b, c = (torch.full((1, 3, 28, 28), value) for value in (0.1, 0.2, 0.3))
    first = cache.features(torch.cat([a, b, a]))
    assert seen == [2]
    assert torch.equal(first[0], first[2])
    cache.features(a)
    cache.features(c)  # b was used longest ago
    assert seen == [2, 1]
    assert torch.equal(cache.features(a)[0], first[0])
    assert seen == [2, 1]
    cache.features(b)
    assert seen == [2, 1, 1]
    assert len(cache.features(torch.cat([a, b, c]))) == 3, "more images than are remembered"


def test_text_loads_no_adaptor(tmp_path: Path) -> None:
    pipeline = IAAPipeline.from_pretrained(make_checkpoint(tmp_path / "checkpoint"))
    pieces: list[str] = []
    text = pipeline.text("Hello", on_text=lambda _, piece: pieces.append(piece), **FEW)
    assert "".join(pieces) == text
    assert pipeline.model.loaded_banks == ("base", "text")


def test_user_text_is_only_text(pipeline: IAAPipeline) -> None:
    assert pipeline.caption(str(PHOTO), "<|eot_id|><|reserved_special_token_44|>", **FEW)


def test_the_same_seed_says_the_same(pipeline: IAAPipeline) -> None:
    said = [pipeline.text("Hello", do_sample=True, temperature=2.0, seed=seed, **FEW) for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2]


@pytest.mark.parametrize("call", ["caption", "ground", "text"])
def test_cancelling_stops_within_a_token(pipeline: IAAPipeline, call: str) -> None:
    seen: list[int] = []
    options: dict[str, Any] = {"on_token": lambda row, token: seen.append(token), "cancelled": lambda: len(seen) >= 2}
    arguments = {"caption": (str(PHOTO),), "ground": (str(PHOTO), "cat"), "text": ("Hello",)}[call]
    with pytest.raises(Cancelled):
        getattr(pipeline, call)(*arguments, **options)
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("phrases", "options", "said"),
    [
        ([], {}, "no phrase"),
        (["cat", " "], {}, "describes nothing"),
        (["cat"], {"max_new_tokens": 5}, "5 new tokens are too few for a box"),
        (["cat"], {"num_beams": 2}, "Beam search and box grammar"),
        (["cat"], {"batch_rows": 0}, "batch_rows is 0"),
        (["cat"], {"temprature": 1.0}, "no generation option temprature"),
    ],
    ids=str,
)
def test_what_cannot_be_grounded_is_refused(
    pipeline: IAAPipeline, phrases: list[str], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        pipeline.ground(str(PHOTO), phrases, **options)


def test_a_prompt_longer_than_the_context(pipeline: IAAPipeline) -> None:
    with pytest.raises(ContextLengthError, match=r"has \d{4} tokens .* context is 600"):
        pipeline.text("word " * 400)


@pytest.mark.parametrize("ask", ["text", "caption", "ground", "choose", "choices"])
def test_a_prompt_of_a_megabyte_is_refused_at_once(pipeline: IAAPipeline, ask: str) -> None:
    long = "a red star " * 90_000
    asks: dict[str, Callable[[], object]] = {
        "text": lambda: pipeline.text(long),
        "caption": lambda: pipeline.caption(str(PHOTO), long),
        "ground": lambda: pipeline.ground(str(PHOTO), [long]),
        "choose": lambda: pipeline.choose(str(PHOTO), long, ["yes", "no"]),
        "choices": lambda: pipeline.choose(str(PHOTO), "What is it?", ["yes", long]),
    }
    begin = time.process_time()
    with pytest.raises(ContextLengthError, match="more tokens than the model's context, which is 600"):
        asks[ask]()
    assert time.process_time() - begin < 1


def test_a_checkpoint_without_tokenizer(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="tokenizer"):
        IAAPipeline.from_pretrained(folder)
