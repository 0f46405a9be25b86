"""What MM is asked for captions: a kind, a length, what to mention or leave out, words to avoid; in two languages.

A kind is a ready question; length, extras and forbidden words are sentences behind it, and behind any other question.
The model is asked in the language in which it is to answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import InputError, spelled
from .prompts import CAPTION_PROMPTS
from .texts import texts

ENGLISH, CHINESE = "English", "Chinese"
LANGUAGES = (ENGLISH, CHINESE)
ANY = "any"

_ENGLISH_KINDS = {
    **CAPTION_PROMPTS,
    "training": (
        "Write a caption for training an image model: in plain statements, the subject, its looks, pose and place, the "
        "background, the light and the style. Say only what can be seen, without explaining or judging it."
    ),
    "alt": (
        "Write alt text for people who cannot see this image: what is needed to understand it, in one or two sentences."
    ),
    "image prompt": (
        "Write a prompt from which an image generator would make this image: in phrases between commas, the subject, "
        "its details, the setting, the light, the medium and the style."
    ),
}
_CHINESE_KINDS = {
    "caption": "请用中文描述这张图片。",
    "detailed": "请用中文详细描述这张图片：主体、它们在做什么、周围环境、颜色和氛围。",
    "objects": "请用中文列出这张图片中的每一种物体，每种只列一次，用逗号分隔。",
    "tags": "请用中文以简短的标签列出这张图片中的物体、人物、地点和风格，用逗号分隔。",
    "ocr": "请逐字写出这张图片中可以读到的所有文字。",
    "training": (
        "请用中文写一条用于训练图像模型的描述：用平实的陈述句写出主体、外观、姿态、位置、背景、光线和画面风格。"
        "只写看得见的内容，不要解释，也不要评价。"
    ),
    "alt": "请用中文为看不到这张图片的人写一条替代文本：只写理解画面所需的内容，不超过两句话。",
    "image prompt": (
        "请用中文写一条能让图像生成模型画出这张图片的提示词：用逗号分隔的短语写出主体、细节、环境、光线、媒介和风格。"
    ),
}
_KINDS = {ENGLISH: _ENGLISH_KINDS, CHINESE: _CHINESE_KINDS}
KINDS = tuple(_ENGLISH_KINDS)
"""What is written."""
LISTS = ("objects", "tags", "ocr")
"""Kinds that are no sentences: their length is not asked for."""

LENGTHS: dict[str, dict[str, str]] = {
    ANY: {ENGLISH: "", CHINESE: ""},
    "very short": {ENGLISH: "Write a few words only.", CHINESE: "只写几个词。"},
    "short": {ENGLISH: "Write one sentence.", CHINESE: "只写一句话。"},
    "medium": {ENGLISH: "Write two or three sentences.", CHINESE: "写两到三句话。"},
    "long": {ENGLISH: "Write a whole paragraph.", CHINESE: "写完整的一段。"},
    "very long": {ENGLISH: "Write several paragraphs.", CHINESE: "写几段。"},
}

EXTRAS: dict[str, dict[str, str]] = {
    "lighting": {ENGLISH: "Mention the lighting.", CHINESE: "写出光线。"},
    "camera": {
        ENGLISH: "Mention the camera angle, the kind of shot and the depth of field.",
        CHINESE: "写出拍摄角度、景别和景深。",
    },
    "composition": {
        ENGLISH: "Mention the composition: what is in front, behind, left and right.",
        CHINESE: "写出构图：前后左右各有什么。",
    },
    "colours": {ENGLISH: "Mention the main colours.", CHINESE: "写出主要颜色。"},
    "medium": {
        ENGLISH: "Say whether it is a photograph, a painting, a drawing or a rendering, and in which style.",
        CHINESE: "说明是照片、绘画、素描还是渲染图，以及是什么风格。",
    },
    "quality": {
        ENGLISH: "Mention blur, noise, compression artefacts and watermarks where there are any.",
        CHINESE: "如有模糊、噪点、压缩痕迹或水印，请写出。",
    },
    "essentials": {ENGLISH: "Describe the most important things only.", CHINESE: "只描述最重要的内容。"},
    "no text": {ENGLISH: "Do not mention text in the image.", CHINESE: "不要提及图片中的文字。"},
    "no mood": {ENGLISH: "Do not mention mood or feelings.", CHINESE: "不要提及氛围或感受。"},
    "no guesses": {
        ENGLISH: "Do not guess: leave out what cannot be seen, and avoid words such as maybe or appears.",
        CHINESE: "不要猜测：看不见的不写，也不要用“可能”“似乎”等词。",
    },
    "no identity": {
        ENGLISH: "Of people, leave out what they cannot change, such as origin; clothing and hair style may stay.",
        CHINESE: "对人物，不写无法改变的特征（如出身），可以写衣着和发型。",
    },
    "for all ages": {ENGLISH: "Keep it suitable for all ages.", CHINESE: "内容须适合所有年龄的人。"},
    "no opening": {ENGLISH: "Begin with the subject itself.", CHINESE: "直接从主体写起。"},
}
"""What to mention or leave out."""

OPENINGS: dict[str, tuple[str, ...]] = {
    ENGLISH: ("the image shows", "the image features", "this picture depicts", "in this photo"),
    CHINESE: ("这张图片", "图中显示", "画面中"),
}
"""Phrases that ``no opening`` forbids."""


def caption_prompt(
    kind: str = "caption",
    length: str = ANY,
    extras: str | Iterable[str] = (),
    forbid: str | Iterable[str] = (),
    language: str = ENGLISH,
    call: str = "",
) -> str:
    """The question for a caption of a kind.

    Args:
        kind: one of ``KINDS``.
        length: one of ``LENGTHS``; not for kinds that are ``LISTS``.
        extras: as for :func:`styled`.
        forbid: as for :func:`styled`.
        language: one of ``LANGUAGES``.
        call: as for :func:`styled`.

    Returns:
        One line; of a kind alone, in English, that of ``CAPTION_PROMPTS``, word for word.

    Raises:
        InputError: there is no such kind, length, extra or language; or a length for a list.
    """
    _check("kind of caption", kind, KINDS)
    _check("language", language, LANGUAGES)
    if length != ANY and kind in LISTS:
        raise InputError(f"{kind!r} is a list, which is as long as there is something to list. Leave out the length.")
    return styled(_KINDS[language][kind], length, extras, forbid, language, call)


def styled(
    question: str,
    length: str = ANY,
    extras: str | Iterable[str] = (),
    forbid: str | Iterable[str] = (),
    language: str = ENGLISH,
    call: str = "",
) -> str:
    """A question with what its answer shall be like.

    Args:
        question: any.
        length: one of ``LENGTHS``.
        extras: a name of ``EXTRAS``, or several, in any order.
        forbid: a word or phrase, or several, that the answer must not contain; the model mostly heeds that.
        language: of what is added, one of ``LANGUAGES``.
        call: the name of the person or character that is shown, for captions that teach an image model this name.

    Raises:
        InputError: there is no such length, extra or language; or what is forbidden is no text.
    """
    _check("length", length, tuple(LENGTHS))
    _check("language", language, LANGUAGES)
    wanted = set(texts(extras, "An extra"))
    for name in sorted(wanted):
        _check("extra", name, tuple(EXTRAS))
    words = [*texts(forbid, "What is forbidden"), *(OPENINGS[language] if "no opening" in wanted else ())]
    sentences = [
        question,
        LENGTHS[length][language],
        _naming(" ".join(call.split()), language),
        *(EXTRAS[name][language] for name in EXTRAS if name in wanted),
        _forbidding([" ".join(word.split()) for word in words], language),
    ]
    return (" " if language == ENGLISH else "").join(filter(None, sentences))


def _naming(name: str, language: str) -> str:
    if not name:
        return ""
    if language == CHINESE:
        return f"把图中的人物或角色称为“{name}”。"
    return f'Call the person or character in it "{name}".'


def _forbidding(words: list[str], language: str) -> str:
    listed = list(dict.fromkeys(filter(None, words)))
    if not listed:
        return ""
    if language == CHINESE:
        return f"不要使用这些说法：{''.join(f'“{word}”' for word in listed)}。"
    quoted = ", ".join(f'"{word}"' for word in listed)
    return f"Do not write any of these: {quoted}."


def _check(what: str, name: object, names: tuple[str, ...]) -> None:
    if name not in names:
        raise InputError(f"There is no {what} {spelled(name)}. Choose one of: {', '.join(names)}.")
