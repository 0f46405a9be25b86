"""A grammar that makes every grounding answer readable: ``[x1,y1,x2,y2]``, one or several joined by ``; ``.

The grammar is an automaton over characters, lifted to tokens: a token is allowed where all its characters are, whatever
the tokenizer's merges (single digits, digits in threes as in Llama 3, ``],`` as one token). Each step also counts how
many tokens the shortest way to the end takes, so that an answer is complete within its budget. A further box is only
begun where one in full spelling fits: in less room, its digits would be those that fit, not those that the model means.

Symbols: B rows, S states of the automaton, V vocabulary, K tokens that may take part (1,100 of Llama 3's 128,256).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError

DECIMALS = 3
"""Digits after the point: the published answers give thousandths of the padded square."""

NEVER = 1 << 14
"""The cost of a token that is not allowed."""


def character_automaton(several: bool) -> tuple[list[dict[str, int]], int]:
    """The automaton of box answers: per state the next state by character, and the accepting state.

    A coordinate is ``0``, ``1``, ``0.d`` to ``0.ddd`` or ``1.0`` to ``1.000``; state 0 is the start.
    """
    states: list[dict[str, int]] = [{}]

    def new_state() -> int:
        states.append({})
        return len(states) - 1

    start = new_state()
    states[0]["["] = start
    for separator in ",,,]":
        after = new_state()
        for lead, digits in (("0", "0123456789"), ("1", "0")):
            whole, point = new_state(), new_state()
            states[start][lead] = whole
            states[whole]["."] = point
            states[whole][separator] = after
            last = point
            for _ in range(DECIMALS):
                digit = new_state()
                states[last].update(dict.fromkeys(digits, digit))
                states[digit][separator] = after
                last = digit
        start = after
    if several:
        semicolon, space = new_state(), new_state()
        states[start][";"] = semicolon
        states[semicolon][" "] = space
        states[space]["["] = states[0]["["]
    return states, start


class BoxGrammar:
    """Restricts a batch of answers to boxes; a :class:`.constraint.Grammar`, which drafts, too.

    Args:
        texts: token id -> the text it stands for, for tokens that may take part.
        vocab_size: V.
        eos: the id that ends an answer.
        several: allow more than one box in an answer.
        examples: token ids of answers as the tokenizer writes them, for :meth:`draft`; where they go on differently
            from a state, the first counts. Digits 0 are taken for form: only fractions behind a 1 may have any.
        room: tokens that a box with three decimals takes, and the answer's end; no second box is begun in less.

    Raises:
        InputError: the vocabulary cannot spell a box.
    """

    def __init__(
        self,
        texts: dict[int, str],
        vocab_size: int,
        eos: int,
        several: bool = True,
        examples: Sequence[Sequence[int]] = (),
        room: int = 0,
    ) -> None:
        automaton, accepting = character_automaton(several)
        texts = {token: text for token, text in texts.items() if token < vocab_size and token != eos}
        tokens = sorted([*texts, eos])
        done = len(automaton)
        table = [[_walk(automaton, state, texts.get(token, "?")) for token in tokens] for state in range(done)]
        table.append([None] * len(tokens))
        for state in (accepting, done):
            table[state][tokens.index(eos)] = done
        legal = torch.tensor([[target is not None for target in row] for row in table])
        nexts = torch.tensor([[target or 0 for target in row] for row in table], dtype=torch.int16)
        least = torch.tensor(["[" in texts.get(token, "") for token in tokens]).repeat(done + 1, 1) * room
        least[0] = 0  # the first box is written in whatever room there is
        costs, distance = _costs(nexts.long(), legal, least, done)
        if distance[0] >= NEVER:
            raise InputError(
                "The tokenizer has no tokens to spell a box such as [0.1,0.2,0.3,0.4], so answers cannot be held to "
                "that form. Switch the grammar off, or use the checkpoint's own tokenizer."
            )
        self.shortest = int(distance[0])
        self._vocab_size = vocab_size
        self._tokens = torch.tensor(tokens)
        self._nexts = nexts
        self._costs = costs.to(torch.int16)
        self._form: dict[int, tuple[int, int]] = {}  # state -> the token that mostly follows, and the state behind it
        for example in examples:
            here = 0
            for token in example:
                behind = _walk(automaton, here, texts.get(token, "?"))
                if behind is None:
                    break
                if here not in (0, accepting) and not set(texts[token]) & set("123456789"):
                    self._form.setdefault(here, (token, behind))
                here = behind

    def draft(self, state: int) -> list[int]:
        """Tokens of the form that mostly follow in a state, up to where digits or the answer's end may come."""
        tokens: list[int] = []
        while state in self._form:
            token, state = self._form[state]
            tokens.append(token)
        return tokens

    def check_limit(self, tokens: int) -> None:
        """Raises :class:`InputError` where an answer of so many tokens has no room for one box."""
        if tokens < self.shortest:
            raise InputError(
                f"{tokens} new tokens are too few for a box, which takes at least {self.shortest} with this tokenizer. "
                "Raise max_new_tokens, shorten the phrase, or switch the grammar off."
            )

    def hold(self, limits: Sequence[int], device: torch.device) -> BoxRows:
        """Rows before their first tokens.

        Raises:
            InputError: a row's limit is too small for one box.
        """
        return BoxRows(self.on(device), limits)

    def on(self, device: torch.device) -> BoxGrammar:
        """The grammar with its tables on a device; this one stays where it is."""
        there = copy(self)
        there._tokens, there._nexts, there._costs = (t.to(device) for t in (self._tokens, self._nexts, self._costs))
        return there

    def start(self, limits: Sequence[int]) -> Tensor:
        """State 0 for every row.

        Raises:
            InputError: a row's limit is too small for one box.
        """
        self.check_limit(min(limits))
        return torch.zeros(len(limits), dtype=torch.long, device=self._tokens.device)

    def allowed(self, states: Tensor, remaining: Tensor) -> Tensor:
        """(B, V) bool: tokens with which a row can still end within its ``remaining`` (B,) tokens, these counted."""
        mask = torch.zeros((len(states), self._vocab_size), dtype=torch.bool, device=states.device)
        return mask.index_copy_(1, self._tokens, self._costs[states] <= remaining.clamp_max(NEVER - 1)[:, None])

    def advance(self, states: Tensor, tokens: Tensor) -> Tensor:
        """(B,) states after (B,) tokens."""
        return self._nexts[states, torch.searchsorted(self._tokens, tokens)].long()


class BoxRows:
    """Rows under a grammar whose tables are on their device; a :class:`.constraint.Held`."""

    def __init__(self, grammar: BoxGrammar, limits: Sequence[int]) -> None:
        self._grammar, self._states = grammar, grammar.start(limits)

    def allowed(self, remaining: Tensor) -> Tensor:
        """See :meth:`BoxGrammar.allowed`."""
        return self._grammar.allowed(self._states, remaining)

    def advance(self, tokens: Tensor, ids: Sequence[int]) -> None:
        """Goes on by a token (B,) a row."""
        self._states = self._grammar.advance(self._states, tokens)

    def select(self, rows: Tensor, kept: Sequence[int]) -> None:
        """Keeps the rows at these positions."""
        self._states = self._states.index_select(0, rows)


def _walk(automaton: Sequence[dict[str, int]], state: int, text: str) -> int | None:
    for character in text:
        following = automaton[state].get(character)
        if following is None:
            return None
        state = following
    return state


def _costs(nexts: Tensor, legal: Tensor, least: Tensor, done: int) -> tuple[Tensor, Tensor]:
    """What is left of an answer, in tokens: relaxed until nothing changes (Bellman-Ford).

    Args:
        nexts: (S + 1, K) state behind each token.
        legal: (S + 1, K) bool, which tokens may follow a state.
        least: (S + 1, K) room that a token is to have, itself and the answer's end included.
        done: the state behind the end.

    Returns:
        (S + 1, K) tokens from a token on to the end, ``NEVER`` where it is not allowed; and the least of each state.
    """
    distance = torch.full((len(nexts),), NEVER, dtype=torch.long)
    distance[done] = 0
    while True:
        costs = torch.where(legal, torch.maximum(distance[nexts] + 1, least), NEVER).clamp_max(NEVER)
        through = costs.amin(-1)
        through[done] = 0
        if torch.equal(through, distance):
            return costs, distance
        distance = through


def box_token_texts(tokenizer: Any) -> dict[int, str]:
    """The tokens of a byte-level tokenizer that consist of a box answer's characters alone: id -> text."""
    special = set(tokenizer.all_special_ids) | set(getattr(tokenizer, "added_tokens_decoder", {}))
    texts = {}
    for token, number in tokenizer.get_vocab().items():
        text = token.replace("Ġ", " ")
        if number not in special and text and set(text) <= set("[]0123456789.,; "):
            texts[number] = text
    return texts


def grammar_for(tokenizer: Any, vocab_size: int, eos: int, several: bool) -> BoxGrammar:
    """The grammar for a tokenizer, on the CPU."""
    boxes = ("[0.123,0.456,0.789,0.987]", "[1.000,1.000,1.000,1.000]")
    examples = [tokenizer.encode(f"{box}; {box}", add_special_tokens=False) for box in boxes]
    room = max(len(tokenizer.encode(box, add_special_tokens=False)) for box in boxes) + 1
    return BoxGrammar(box_token_texts(tokenizer), vocab_size, eos, several, examples, room)
