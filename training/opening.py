"""How adaptors are initialised, so that a tiny budget goes into learning what to see.

Four things begin better than at random, and are trained from there: the projector as a dictionary, attention as a
search for what is alike, numbers as points on a curve, and all of it at the scale of the base's activations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from tower import BOX, KIND_CLASSES

from iaa_runtime.model.banks import AdaptorBank, HeadBank
from iaa_runtime.model.layers import Block
from iaa_runtime.shapes.scenes import COLORS, KINDS

_ON = 2.0  # GELU's input where a label holds; minus that where it does not
_HINGES = 16
LOUDNESS = 60.0


def lay_numbers_on_a_curve(head: HeadBank, first: int) -> None:
    """Starts the vectors of ``000`` to ``999``, in embedding and head, as points of a smooth curve.

    Each is a Fourier code of its value, rotated at random into the width of the model and scaled to the rows' average
    length. So what is learned about one coordinate holds for its neighbours from the first step on.
    """
    values = torch.arange(1000) / 1000
    frequencies = torch.tensor([0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32])
    angles = 2 * torch.pi * values[:, None] * frequencies
    code = torch.cat((angles.cos(), angles.sin()), 1)
    for table, seed in ((head.embed_tokens, 1), (head.lm_head, 2)):
        weight = cast(Tensor, table.weight)
        turn = torch.linalg.qr(
            torch.randn(weight.shape[1], code.shape[1], generator=torch.Generator().manual_seed(seed))
        )
        rows = code @ turn.Q.T
        rows *= weight[first : first + 1000].norm(dim=1).mean().cpu() / rows.norm(dim=1).mean()
        with torch.no_grad():
            weight[first : first + 1000] = rows.to(weight)


def speak_up(bank: AdaptorBank) -> None:
    """Scales embeddings and adaptors to the frozen base's activations.

    The base's residual stream grows to some 25 to 50 in root mean square, from embeddings of 0.04: beside that a
    picture's tokens and a fresh adaptor's outputs have no effect for hundreds of steps. Every block normalises its
    input, so a larger embedding changes nothing for the first base block, and keeps its effect behind it.
    """
    with torch.no_grad():
        table = cast(Tensor, bank.embed_tokens.weight)
        table *= LOUDNESS / table.pow(2).mean().sqrt()
        for block in cast("list[Block]", list(bank.layers)):
            cast(Tensor, block.mlp.up_proj.weight).mul_(LOUDNESS)


def look_for_likeness(bank: AdaptorBank) -> None:
    """Starts the adaptors' attention as a search: tokens attend to tokens like them, and copy their values.

    Queries start as the keys and outputs as the transposed values, near the "mimetic" initialisation of Trockman and
    Kolter (arXiv 2305.09828): the word ``red`` finds red patches at once.
    """
    for block in cast("list[Block]", list(bank.layers)):
        attention = block.self_attn
        query, key, value, out = (
            cast(Tensor, layer.weight)
            for layer in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
        )
        groups = query.shape[0] // key.shape[0]

        def shared(rows: Tensor, head: int = attention.head_dim, times: int = groups) -> Tensor:
            return rows.unflatten(0, (-1, head)).repeat_interleave(times, 0).flatten(0, 1)

        with torch.no_grad():
            for weight in (key, value):
                nn.init.orthogonal_(weight)
            query.copy_(shared(key))
            out.copy_(0.5 * shared(value).T)
            value *= LOUDNESS


def open_dictionary(bank: AdaptorBank, features: Tensor, label_head: nn.Linear, words: Mapping[str, int]) -> None:
    """Starts a projector as a dictionary: a patch that the tower's label head calls red becomes the word ``red``.

    Hidden units of the first layer start as switches on the label head's outputs (kind, color, is it the central
    patch), as hinges along each coordinate, and the rest as whitened features. The second layer writes a word's own
    vector for a switch, and a random direction for all else.

    Args:
        bank: MM's or G's.
        features: (patches, W) sample of the tower's output.
        label_head: the linear head that the tower was trained with.
        words: ids of `` red``, `` circle`` and so on, by word.
    """
    first, second = cast("tuple[nn.Linear, nn.Linear]", (bank.projector[0], bank.projector[2]))  # type: ignore[index]
    table = cast(Tensor, bank.embed_tokens.weight).detach()
    length = table.norm(dim=1).median()
    weight, bias = label_head.weight.detach(), label_head.bias.detach()
    outputs = features @ weight.T + bias
    names = [*KINDS, "", *COLORS, ""]
    rows: list[Tensor] = []
    shifts: list[Tensor] = []
    written: list[Tensor] = []

    def unit(row: Tensor, shift: Tensor, vector: Tensor, strength: float = 1.0) -> None:
        rows.append(row)
        shifts.append(shift)
        written.append(vector / vector.norm() * length / _ON * strength)

    def anything() -> Tensor:
        return torch.randn(table.shape[1])

    for start, end in ((0, KIND_CLASSES), (KIND_CLASSES, BOX.start)):
        chosen = outputs[:, start:end].argmax(1)
        for i in range(start, end):
            here = chosen == i - start
            low, high = outputs[~here, i].mean(), outputs[here, i].mean()
            scale = 2 * _ON / (high - low)
            vector = table[words[names[i]]] if names[i] else anything()
            unit(weight[i] * scale, (bias[i] - (low + high) / 2) * scale, vector)
    unit(weight[BOX.stop], bias[BOX.stop], anything())
    for w, b in zip(weight[BOX], bias[BOX], strict=True):
        for knot in (torch.arange(_HINGES) + 0.5) / _HINGES:
            unit(6 * w, 6 * (b - knot), anything(), 0.3)
    mean = features.mean(0)
    values, vectors = torch.linalg.eigh((features - mean).T @ (features - mean) / len(features))
    whitened = (vectors / values.clamp_min(1e-6).sqrt()).T
    for row in whitened[-(first.weight.shape[0] - len(rows)) :]:
        unit(row, -(row @ mean), anything(), 0.3)
    with torch.no_grad():
        first.weight.copy_(torch.stack(rows))
        first.bias.copy_(torch.stack(shifts))
        second.weight.copy_(torch.stack(written, 1))
        nn.init.zeros_(second.bias)
