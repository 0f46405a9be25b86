"""The chat template of an exported checkpoint: IAA's prompt, in Jinja."""

from __future__ import annotations

from ..config import Task
from ..text.conversation import BEGIN_OF_TEXT, END_HEADER, EOT, IMAGE_TOKEN, START_HEADER
from ..text.prompts import DEFAULT_SYSTEM

_GLUED = (
    "{% if m['content'].startswith('<__media') and '__>' in m['content'] %}{% set cut = m['content'].split('__>', 1) %}"
    "{{ cut[0] }}__>{{ '\\n' }}{{ cut[1] | trim }}{% else %}{{ m['content'] | trim }}{% endif %}"
)
"""The words of a message in one string, before which llama-server puts a picture's marker, ``<__media…__>``."""


def chat_template(task: Task, pictures_are_text: bool = False) -> str:
    """The Llama 3 layout; the image goes before the text of its message.

    IAA's system prompt stands where a conversation brings none; an empty system message leaves it out.

    Args:
        task: whose prompt.
        pictures_are_text: the engine, llama.cpp, puts a text of its own in a picture's place: as a part of the message,
            or (llama-server) glued to its words. All parts are joined by the line end that IAA has behind a picture.
    """
    one_text = _GLUED if pictures_are_text and task.sees else "{{ m['content'] | trim }}"
    texts = "{% for part in m['content'] if part['type'] == 'text' %}{{ part['text'] | trim }}{% endfor %}"
    if pictures_are_text:
        texts = texts.replace("{% endfor", "{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor")
    image = (
        f"{{% for part in m['content'] if part['type'] == 'image' %}}{IMAGE_TOKEN + chr(10)}{{% endfor %}}"
        if task.sees
        else ""
    )
    header = f"{START_HEADER}{{role}}{END_HEADER}\n\n"
    return (
        BEGIN_OF_TEXT
        + "{% if messages[0]['role'] != 'system' %}"
        + header.replace("{role}", "system")
        + DEFAULT_SYSTEM
        + EOT
        + "{% endif %}{% for m in messages %}{% set words %}{% if m['content'] is string %}"
        + one_text
        + "{% else %}"
        + ("" if pictures_are_text else image)
        + texts
        + "{% endif %}"
        + "{% endset %}{% if words or m['role'] != 'system' %}"
        + header.replace("{role}", "{{ m['role'] }}")
        + "{{ words }}"
        + EOT
        + "{% endif %}{% endfor %}{% if add_generation_prompt %}"
        + header.replace("{role}", "assistant")
        + "{% endif %}"
    )
