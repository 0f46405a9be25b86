"""Measures a checkpoint and writes what it can do beside it: ``measured.json``, and the model card made of it.

python training/card.py [--model DIR] [--scenes 1000]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from iaa_runtime import IAAPipeline
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.shapes.asking import evaluate_asking
from iaa_runtime.shapes.evaluate import evaluate

ROWS = {
    "single_precision": ("grounding, one target: precision at IoU 0.5", 0.93),
    "single_iou": ("grounding, one target: mean IoU", 0.80),
    "elongated_precision": ("the same precision on the most elongated quarter", 0.90),
    "several_f1": ("grounding, several targets: F1 at IoU 0.5", 0.85),
    "absent_auc": ("score tells present from absent shapes: AUC", 0.99),
    "other_auc": ("score tells shapes from other things, never trained on: AUC", 0.99),
    "present_kept": ("boxes of what is there that the threshold keeps", None),
    "absent_dropped": ("absent shapes whose boxes it drops", None),
    "other_dropped": ("other things whose boxes it drops", None),
    "vqa": ("questions about a picture: exact match", 0.92),
    "caption_recall": ("captions: recall of color and shape", 0.93),
    "caption_precision": ("captions: precision of color and shape", 0.93),
    "text": ("questions without a picture: exact match", 0.95),
}
ASKED = {
    "choose_accuracy": ("choices of yes and no: the likelier is right", None),
    "choose_greedy_accuracy": ("the same questions answered in words", None),
    "choose_auc": ("the probability of yes tells yes from no: AUC", None),
    "choose_calibration_error": ("its expected calibration error", None),
    "presence_auc": ("presence tells what is there from absent shapes: AUC", 0.95),
    "presence_other_auc": ("presence tells shapes from other things: AUC", 0.95),
    "absent_boxes_unchecked": ("boxes per absent shape", None),
    "absent_boxes_checked": ("the same with a check", None),
    "other_boxes_unchecked": ("boxes per other thing", None),
    "other_boxes_checked": ("the same with a check", None),
    "check_lost": ("right boxes that a check drops", None),
    "label_recall": ("everything labelled: recall of color, kind and place", 0.85),
    "label_precision": ("everything labelled: precision", 0.85),
    "boxes_described": ("boxes of one shape: color and kind put into words", 0.9),
}
CARD = """---
license: apache-2.0
language: en
library_name: iaa-nodes
pipeline_tag: image-text-to-text
---

# The demo model

An Inner-Adaptor Architecture (IAA) checkpoint of {millions:.1f} million parameters ({megabytes:.1f} MB) that captions,
answers and grounds pictures of coloured shapes, so that everything in this project can be tried in seconds on a CPU.
It has the published layout and is loaded by the same code as the published 33 GB checkpoint.

**It knows only shapes**: circle, square, triangle, star, cross and ring, one to five of them, in eleven colours and two
sizes, on plain, gradient and textured grounds, in pictures up to three times as wide as high or the reverse. Anything
else gets an answer in these words all the same, and it means nothing. It speaks only the sentences it was taught: among
them captions in every English style that nodes and commands offer (`iaa_runtime/shapes/captions.py`).

## How good it is

Measured on {scenes} scenes of seeds that training never saw, on a CPU in float32, through the public pipeline:

| | measured | aim |
|---|---:|---:|
{table}

Asked more, on {asked} of these scenes (`iaa_runtime/shapes/asking.py`):

| | measured | aim |
|---|---:|---:|
{more}

{verdict}

`score` is the geometric mean of the probabilities of a box's coordinate tokens. Training spreads the right answer over
neighbouring coordinates, so a sure box scores about 0.25, never near 1; a box of something that is not there scores
about 0.03. Boxes below {threshold} are dropped where no threshold is given; that is this model's `score_threshold` in
config.json.

## How it was made

By the paper's recipe in small, over this project's own model classes (`training/README.md` tells it step by
step): a Llama of four layers learns from text alone and is frozen; a CLIP vision tower learns from labels per patch and
is frozen; then the MM and the G adaptors learn, with their embeddings, norms, heads and projectors, G's from a copy of
MM's. G also learns that what it is asked for may not be there: shapes that the picture lacks, and things that are no
shapes. While they learn, two of their attention heads are told which shape an answer is about. The tower has also seen
things without a name, composed of random parts (`training/unnamed.py`): it says where they end, not what they are, so
that the model can be taught what they are called. The data are drawn by `iaa_runtime/shapes` and the training script;
no other data were used. The tower's last layer, which IAA never reads, is left at zero.

These weights are not one unbroken run of the script: the text stage began on a wider mixture of questions, the tower
came from an earlier version, MM learned 2,200 steps, 2,100 more once its heads were also told what is counted, and
2,600 more in which relations and counts were asked more often; G, begun from MM in the midst of that, learned 6,300,
and 1,500 more at a fifth of the rates once other things were among what it was asked for; MM then learned 2,500 at a
fifth, among them tags, whether a phrase is about the picture, and close-ups of one shape. The tower learned 3,000 steps
at a fifth, half of each batch unnamed things, and MM 2,000 and G 1,600 to read it. At last MM learned captions in many
styles, 1,750 steps at half of the rates; the tower 5,000 at 0.3, with narrow things as often as square ones; then G
1,300 at 0.3 and MM 2,500 at 0.3 to 0.15, to read it. Last, MM learned captions in forms made up, 3,000 steps at half of
the rates in which they were four of eighteen lessons, and 4,000 in which they were eight of twenty-two.

## To go on

`python training/train.py --out DIR --start-from iaa_runtime/demo_checkpoint --take text tower mm g` takes
what is here and learns on; `python training/card.py --model DIR/checkpoint` measures the result and writes
its page.

## Licence

Apache-2.0, like the project.
"""


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=DEMO_CHECKPOINT)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--asked", type=int, default=200, help="of them, for choices, presence, labels and boxes")
    options = parser.parse_args()
    torch.set_num_threads(1)  # faster than more, at this size
    pipeline = IAAPipeline.from_pretrained(options.model, torch.float32)
    report = evaluate(pipeline, options.scenes).report()
    report |= evaluate_asking(pipeline, options.asked).report()
    rows = ROWS | ASKED
    measured = {name: round(report[name], 4) for name in rows}
    (options.model / "measured.json").write_text(
        json.dumps({"scenes": options.scenes, "asked": options.asked, **measured}, indent=1) + "\n"
    )
    short = [text for name, (text, aim) in rows.items() if aim is not None and measured[name] < aim]
    table, more = (
        "\n".join(f"| {text} | {measured[name]:.3f} | {aim or ''} |" for name, (text, aim) in some.items())
        for some in (ROWS, ASKED)
    )
    weights = list(options.model.rglob("*.safetensors"))
    text = CARD.format(
        millions=sum(file.stat().st_size for file in weights) / 2e6,
        megabytes=sum(file.stat().st_size for file in options.model.rglob("*") if file.is_file()) / 1e6,
        scenes=options.scenes,
        threshold=pipeline.score_threshold,
        asked=options.asked,
        table=table,
        more=more,
        verdict="It reaches its aims." if not short else f"**It falls short of its aims** in: {'; '.join(short)}.",
    )
    (options.model / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
