"""Whatever the logits are, an answer under the grammar parses and fits its budget."""

from __future__ import annotations

import itertools
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from iaa_runtime.boxes.answers import parse_boxes
from iaa_runtime.errors import InputError
from iaa_runtime.generation.grammar import BoxGrammar, box_token_texts, character_automaton
from iaa_runtime.generation.sampling import DROPPED

CHARACTERS = list("[]0123456789.,; ")
DIGITS = ["".join(digits) for count in (1, 2, 3) for digits in itertools.product("0123456789", repeat=count)]
VOCABULARIES = {
    "a character a token": CHARACTERS,
    "digits in threes": [*"[].,; ", *DIGITS],
    "merges": [
        *CHARACTERS,
        *DIGITS,
        "],",
        " [",
        "];",
        "; ",
        "];[",
        "; [",
        "]; [",
        ",0",
        "[0",
        "0.",
        ".5",
        ",0.",
        "]]",
        "[[",
        ", ",
    ],
    "no single digits but 0 and 1": [*"[].,; 01", "000", "500", "999", ",0", "00"],
}
ANSWER = re.compile(r"\[N,N,N,N\](; \[N,N,N,N\])*".replace("N", r"(0(\.\d{1,3})?|1(\.0{1,3})?)"))


def build(vocabulary: str, several: bool = True) -> tuple[BoxGrammar, list[str], int]:
    """The grammar, what each token says, and the end token's id; every tenth token takes no part."""
    texts: list[str] = []
    for text in VOCABULARIES[vocabulary]:
        texts += [text] if len(texts) % 10 else ["word", text]
    end = len(texts)
    return BoxGrammar({n: t for n, t in enumerate(texts) if t != "word"}, end + 3, end, several), texts, end


BUILT = {(name, several): build(name, several) for name in VOCABULARIES for several in (True, False)}


def answer(grammar: BoxGrammar, end: int, logits: torch.Tensor) -> list[int]:
    """Greedy decoding of one row of (budget, V) logits under the grammar."""
    remaining = torch.tensor([len(logits)])
    state, ids = grammar.start([len(logits)]), []
    for step in range(len(logits)):
        allowed = grammar.allowed(state, remaining - step)
        assert allowed.any(), "there is always a way on"
        token = logits[step].masked_fill(~allowed[0], DROPPED).argmax().view(1)
        state = grammar.advance(state, token)
        ids.append(int(token))
        if ids[-1] == end:
            break
    return ids


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(VOCABULARIES)),
    several=st.booleans(),
    spare=st.integers(0, 60),
    seed=st.integers(0, 10_000),
    shy=st.booleans(),
)
def test_any_logits_give_an_answer_that_parses_within_its_budget(
    name: str, several: bool, spare: int, seed: int, shy: bool
) -> None:
    grammar, texts, end = BUILT[name, several]
    logits = torch.randn((grammar.shortest + spare, end + 3), generator=torch.Generator().manual_seed(seed))
    if shy:  # a model that never wants to end, and always wants digits, is cut off in time all the same
        logits[:, end] = -100
        logits[:, [n for n, text in enumerate(texts) if text.isdigit()]] += 50
    ids = answer(grammar, end, logits)
    assert ids[-1] == end
    text = "".join(texts[i] for i in ids[:-1])
    assert ANSWER.fullmatch(text), text
    boxes = parse_boxes(text)
    assert len(boxes) == text.count("[")
    assert all(0 <= value <= 1 for box in boxes for value in box)
    if not several:
        assert len(boxes) == 1


@pytest.mark.parametrize("name", VOCABULARIES)
def test_the_shortest_budget_is_exact(name: str) -> None:
    grammar, _, end = BUILT[name, True]
    ids = answer(grammar, end, torch.zeros(grammar.shortest, end + 3))
    assert len(ids) == grammar.shortest
    with pytest.raises(
        InputError, match=rf"{grammar.shortest - 1} new tokens are too few .* at least {grammar.shortest}"
    ):
        grammar.start([50, grammar.shortest - 1])


@pytest.mark.parametrize("name", ["a character a token", "digits in threes"])
def test_a_further_box_is_only_begun_where_its_digits_fit(name: str) -> None:
    """A model that lists boxes for ever gives fewer of them in less room, never others."""
    plain, texts, end = BUILT[name, True]
    box = "[0.123,0.456,0.789,0.987]"
    piece = {text: n for n, text in reversed(list(enumerate(texts)))}
    spelled = [piece[part] for part in (re.findall(r"\d{3}|.", box) if "123" in piece else box)]
    another = [piece[";"], piece[" "]]
    room = len(spelled) + 1
    known = {n: text for n, text in enumerate(texts) if text != "word"}
    grammar = BoxGrammar(known, end + 3, end, True, room=room)
    assert grammar.shortest == plain.shortest
    for budget in range(room, 4 * room):
        logits = torch.zeros(budget, end + 3)
        for step, token in zip(range(budget), itertools.cycle([*spelled, *another]), strict=False):
            logits[step, token] = 1
            logits[step, end] = -1
        ids = answer(grammar, end, logits)
        found = "".join(texts[i] for i in ids[:-1])
        assert ids[-1] == end and set(found.split("; ")) == {box}
        assert len(found.split("; ")) == 1 + (budget - room) // (len(spelled) + len(another))


def test_the_shortest_answers_by_hand() -> None:
    # [0,0,0,0] and the end; with merges [0 ,0 ,0 ,0 ] and the end.
    assert BUILT["a character a token", True][0].shortest == 10
    assert BUILT["merges", True][0].shortest == 6


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("[0.1,0.25,0.333,1]", True),
        ("[0,0,1.0,1.000]", True),
        ("[0,0,1,1]; [0.5,0.5,0.6,0.6]", True),
        ("[0.1234,0,0,0]", False),
        ("[1.5,0,0,0]", False),
        ("[2,0,0,0]", False),
        ("[00,0,0,0]", False),
        ("[.5,0,0,0]", False),
        ("[0.,0,0,0]", False),
        ("[0,0,0]", False),
        ("[0,0,0,0,0]", False),
        ("[0, 0,0,0]", False),
        ("[0,0,0,0];[0,0,0,0]", False),
        ("[0,0,0,0]; ", False),
        ("", False),
    ],
)
def test_the_language(text: str, fine: bool) -> None:
    states, accepting = character_automaton(several=True)
    state: int | None = 0
    for character in text:
        state = states[state].get(character) if state is not None else None
    assert (state == accepting) == fine


def test_a_budget_larger_than_any_table_allows_nothing_more() -> None:
    grammar, texts, _ = BUILT["a character a token", True]
    state = grammar.start([1 << 20])
    assert grammar.allowed(state, torch.tensor([1 << 20]))[0].nonzero().flatten().tolist() == [texts.index("[")]


def test_rows_move_on_their_own() -> None:
    grammar, texts, _ = BUILT["a character a token", True]
    states = grammar.start([30, 30])
    states = grammar.advance(states, torch.tensor([texts.index("["), texts.index("[")]))
    states = grammar.advance(states, torch.tensor([texts.index("0"), texts.index("1")]))
    states = grammar.advance(states, torch.tensor([texts.index("."), texts.index(".")]))
    first, second = grammar.allowed(states, torch.tensor([30, 30]))
    assert first[texts.index("7")]
    assert not second[texts.index("7")]
    assert second[texts.index("0")]


def test_a_vocabulary_that_cannot_spell_a_box() -> None:
    with pytest.raises(InputError, match="no tokens to spell a box"):
        BoxGrammar(dict(enumerate("[0123456789.,; ")), 20, 19)


def test_tokens_beyond_the_models_vocabulary_take_no_part() -> None:
    texts = dict(enumerate(CHARACTERS)) | {500: "0.5"}
    grammar = BoxGrammar(texts, len(CHARACTERS) + 1, len(CHARACTERS))
    assert grammar.allowed(grammar.start([20]), torch.tensor([20])).shape == (1, len(CHARACTERS) + 1)


def test_texts_of_a_byte_level_tokenizer() -> None:
    pieces = [*CHARACTERS[:-1], "Ġ", "];", "Ġ[", "12", "Ġa", "a", "<|eot|>", "<7>"]
    inner = Tokenizer(models.BPE(vocab={piece: n for n, piece in enumerate(pieces)}, merges=[]))
    inner.add_special_tokens(["<|eot|>"])
    inner.add_tokens(["<7>", "5"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner)
    texts = box_token_texts(tokenizer)
    assert sorted(texts.values()) == sorted([*(c for c in CHARACTERS if c != "5"), "];", " [", "12"])


def test_tables_are_of_the_tokens_that_take_part_and_belong_to_who_asks_for_them() -> None:
    texts = dict(enumerate(CHARACTERS, 128_000 - len(CHARACTERS)))
    grammar = BoxGrammar(texts, 128_256, 128_009)
    assert sum(tensor.nbytes for tensor in tables(grammar)) < 100_000, "of the whole vocabulary they take 25 MB"
    there = grammar.on(torch.device("meta"))
    assert {str(tensor.device) for tensor in tables(there)} == {"meta"}
    assert there.start([20]).device.type == "meta"
    assert {str(tensor.device) for tensor in tables(grammar)} == {"cpu"}, "two devices have a grammar each"
    state = grammar.advance(grammar.start([20]), torch.tensor([128_000 - len(CHARACTERS)]))
    allowed = grammar.allowed(state, torch.tensor([19]))[0]
    assert allowed.shape == (128_256,)
    assert [texts[token] for token in allowed.nonzero().flatten().tolist()] == ["0", "1"]


def tables(grammar: BoxGrammar) -> list[torch.Tensor]:
    return [value for value in vars(grammar).values() if isinstance(value, torch.Tensor)]
