"""How a server is asked how likely a given answer is.

vLLM tells the probabilities of a prompt's tokens, so the answer goes into the prompt, unfinished. llama.cpp does not;
but what it says held to a grammar it rates as if there were none, so it is made to say the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import RemoteError
from ...images.picture import Picture
from ..asking import Question
from .llama_cpp import literal_grammar, translated
from .messages import CONTROL_TOKEN, Completion, chat_messages
from .servers import Endpoint
from .workers import Body


def rating_body(question: Question, answer: str, url_of: Callable[[Picture], str], endpoint: Endpoint) -> Body:
    """The request that rates ``answer``: made when it is sent, since pictures are encoded then."""

    def make() -> dict[str, Any]:
        image = url_of(question.picture) if question.picture is not None else None
        messages = chat_messages(question.conversation, image)
        fields: dict[str, Any] = {"temperature": 0, "max_tokens": 1}
        if endpoint.llama_cpp:
            fields |= {"max_tokens": len(answer.encode()), "logprobs": True}
            return {"messages": messages, **translated(fields), "grammar": literal_grammar(answer)}
        messages.append({"role": "assistant", "content": answer})
        unfinished = {"add_generation_prompt": False, "continue_final_message": True}
        return {"messages": messages, "stream": False, "prompt_logprobs": 0, **unfinished, **fields}

    return make


def mean_logprob(answer: str, read: Completion, endpoint: Endpoint) -> float:
    """The mean log-probability of the tokens of ``answer``, with which what was read ends.

    Raises:
        RemoteError: it does not end so.
    """
    text, logprobs = "", list[float]()
    said = zip(read.tokens, read.logprobs, strict=True)
    pairs = [(token, logprob) for token, logprob in said if token and not CONTROL_TOKEN.fullmatch(token)]
    while pairs and len(text) < len(answer):
        token, logprob = pairs.pop()
        text = token + text
        logprobs.append(logprob)
    if text.strip() != answer:
        raise RemoteError(
            f"{endpoint.model} at {endpoint.url} rates another answer than the one that it was given, so choices "
            "cannot be compared. Use vLLM or llama.cpp, in a newer version."
        )
    return sum(logprobs) / len(logprobs)
