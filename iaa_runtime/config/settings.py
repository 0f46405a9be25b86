"""The files of settings that may lie beside config.json and tokenizer.json.

Hardly anything of them is used (the colours of the preprocessor): layout, end of answer and decoding are IAA's own. But
a file that is broken, or says what cannot be meant, is told of rather than passed over.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError, spelled
from .small_files import load_json

_TOKEN, _FLAG, _WHOLE, _NUMBER, _IDS = (str, dict), (bool,), (int,), (int, float), (int, list)
_TOKENS = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), _TOKEN)
SETTINGS: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    "tokenizer_config.json": {
        **_TOKENS,
        "added_tokens_decoder": (dict,),
        "additional_special_tokens": (list,),
        "chat_template": (str, list),
        "clean_up_tokenization_spaces": _FLAG,
        "model_max_length": _NUMBER,
        "tokenizer_class": (str,),
    },
    "special_tokens_map.json": {**_TOKENS, "additional_special_tokens": (list,)},
    "generation_config.json": {
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), _IDS),
        **dict.fromkeys(("max_length", "max_new_tokens", "num_beams", "top_k"), _WHOLE),
        **dict.fromkeys(("temperature", "top_p", "repetition_penalty"), _NUMBER),
        "do_sample": _FLAG,
    },
    "preprocessor_config.json": {
        **dict.fromkeys(("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"), _FLAG),
        **dict.fromkeys(("image_mean", "image_std"), (list,)),
        **dict.fromkeys(("size", "crop_size"), (int, dict)),
        "resample": _WHOLE,
        "rescale_factor": _NUMBER,
    },
}
"""By the file's name: settings and the kinds of JSON value that each may have; null is always one."""
_WORDS: dict[type, str] = {str: "text", dict: "an object", list: "a list"}
_WORDS |= {bool: "true or false", int: "a whole number", float: "a number"}


def load_settings(file: Path) -> dict[str, Any]:
    """The settings of one of the files of ``SETTINGS``; none where there is no such file.

    Raises:
        CheckpointError: it is no regular file, too large, or no JSON object.
        ConfigError: a setting is of the wrong kind.
    """
    if not os.path.lexists(file):
        return {}
    found = load_json(file)
    for name, kinds in SETTINGS[file.name].items():
        value = found.get(name)
        if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            wanted = " or ".join(_WORDS[kind] for kind in kinds)
            raise ConfigError(f"{file} sets {name!r} to {spelled(value)}, which is not {wanted}. Fetch the file again.")
    return found
