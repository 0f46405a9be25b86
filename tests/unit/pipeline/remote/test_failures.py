"""Servers that stall, break off, are busy or talk nonsense: another try or the right error, and Cancel at any time."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from model_server import BOX, Behaviour, ModelServer, drops, refuses, says, serving, stalls, streams
from PIL import Image

from iaa_runtime.errors import Cancelled, ContextLengthError, InputError, RemoteError
from iaa_runtime.pipeline.remote import RemotePipeline, Retries, Timeouts

PICTURE = Image.new("RGB", (40, 20), "red")
GOOD = says("A", " red", " bar", ".")


PASSING = {
    "500": refuses(500),
    "502": refuses(502, "<html>Bad gateway</html>"),
    "503": refuses(503),
    "504": refuses(504),
    "429": refuses(429, Retry_After="0"),
    "drop": drops(),
    "drop in mid-answer": drops("A", " red"),
    "stall": stalls(),
    "stall in mid-answer": stalls("A", " red"),
    "ends early": streams({"choices": [{"index": 0, "delta": {"content": "A"}}]}),
    "error event": streams({"error": {"message": "EngineCore died", "code": 500}}),
    "error event without a code": streams({"error": {"message": "EngineCore died"}}),
    "error event with a code of its own": streams({"error": {"message": "busy", "code": "overloaded"}}),
    "error event of a busy server": streams({"object": "error", "message": "busy", "code": 429}),
    "abort": says("A", " red", reason="abort"),
}


@pytest.mark.parametrize("failure", PASSING.values(), ids=PASSING)
def test_what_may_pass_is_tried_again(server: ModelServer, remote: RemotePipeline, failure: Behaviour) -> None:
    server.behaves(failure, failure, GOOD)
    pieces: list[str] = []
    assert remote.caption(PICTURE, on_text=lambda _, piece: pieces.append(piece)) == ["A red bar."]
    assert "".join(pieces) == "A red bar.", "what was shown before the break is not shown twice"
    assert len(server.bodies) == 3
    assert server.bodies[0] == server.bodies[2]


def test_an_answer_that_comes_back_different_is_shown_anew(server: ModelServer, remote: RemotePipeline) -> None:
    server.behaves(drops("Two", " red"), GOOD)
    pieces: list[str] = []
    assert remote.caption(PICTURE, on_text=lambda _, piece: pieces.append(piece)) == ["A red bar."]
    assert "".join(pieces) == "Two red\n\nA red bar."


def test_retry_after_is_honoured(server: ModelServer, remote: RemotePipeline) -> None:
    server.behaves(refuses(429, Retry_After="1"), GOOD)
    started = time.monotonic()
    assert remote.caption(PICTURE) == ["A red bar."]
    assert time.monotonic() - started >= 1


def test_pauses_grow_and_end() -> None:
    retries = Retries(tries=4, first=1, longest=3, longest_asked=60)
    for tried, most in ((1, 1), (2, 2), (3, 3)):
        assert most / 2 <= (retries.pause(tried) or 0) <= most
    assert retries.pause(4) is None
    assert retries.pause(1, "7") == 7
    assert retries.pause(1, "61") is None, "nobody waits that long"
    assert retries.pause(1, "Thu, 01 Jan 1970 00:00:00 GMT") == 0
    assert 0.5 <= (retries.pause(1, "soon") or 0) <= 1


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (refuses(500, json.dumps({"error": {"message": "engine\n is dead"}})), "status 500: engine is dead"),
        (refuses(429, Retry_After="0"), "status 429"),
        (stalls("A"), "no word within 0.5 s"),
        (drops("A"), "the answer broke off"),
    ],
    ids=["500", "429", "stall", "drop"],
)
def test_patience_ends(server: ModelServer, remote: RemotePipeline, failure: Behaviour, reason: str) -> None:
    server.behaves(failure)
    with pytest.raises(RemoteError, match="gave no answer, asked 4 times") as error:
        remote.caption(PICTURE)
    assert reason in str(error.value)
    assert len(server.bodies) == 4


NONSENSE: dict[str, tuple[Behaviour, str]] = {
    "a page": (lambda exchange, body: exchange.send(200, "<html>Welcome!</html>"), "it is no stream of events"),
    "a list": (lambda exchange, body: exchange.send(200, "[1, 2]\n"), "no chat completion"),
    "an endless line": (lambda exchange, body: exchange.send(200, "x" * (1 << 22)), "more than 1,048,576 bytes"),
    "no JSON": (streams("not json"), "no chat completion"),
    "a list in an event": (streams([1, 2]), "no chat completion"),
    "other keys": (streams({"text": "A red bar."}), "no chat completion"),
    "choices are text": (streams({"choices": "none"}), "no chat completion"),
    "content is a number": (streams({"choices": [{"delta": {"content": 7}}]}), "no chat completion"),
    "empty choices": (streams({"choices": []}, "[DONE]"), "no choices"),
    "filtered": (says("I", reason="content_filter"), "content_filter"),
    "400": (refuses(400, '{"error": {"message": "bad image"}}'), "bad image"),
    "401": (refuses(401), "IAA_API_KEY"),
    "404": (refuses(404), "/v1 begins"),
    "400 as an event": (
        streams({"error": {"message": "bad image", "type": "BadRequestError", "code": 400}}, "[DONE]"),
        r"refused \(status 400: bad image\)",
    ),
    "404 as an event": (streams({"error": {"message": "no model", "code": 404}}), "/v1 begins"),
    "422 as an older event": (streams({"object": "error", "message": "bad", "code": "422"}), "status 422: bad"),
    "501 as an event": (streams({"error": {"message": "not yet", "code": 501}}), "status 501: not yet"),
}


@pytest.mark.parametrize(("nonsense", "message"), NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_an_error_at_once_and_no_caption(
    server: ModelServer, remote: RemotePipeline, nonsense: Behaviour, message: str
) -> None:
    server.behaves(nonsense)
    with pytest.raises(RemoteError, match=message):
        remote.caption(PICTURE)
    assert len(server.bodies) == 1


def test_one_row_that_fails_fails_all(server: ModelServer, remote: RemotePipeline) -> None:
    """No list of captions comes back with an error's text, or a hole, in it."""
    server.behaves(GOOD, GOOD, refuses(400), GOOD)
    with pytest.raises(RemoteError):
        remote.caption([PICTURE] * 8)


def test_nothing_is_lost_among_failures(server: ModelServer, remote: RemotePipeline) -> None:
    """Every row gets its own answer, in order, though two of three are asked in vain first, once or twice."""
    failures = [refuses(503), drops("A"), refuses(429, Retry_After="0"), drops()]
    asked: Counter[str] = Counter()

    def echo(exchange: Any, body: dict[str, Any]) -> None:
        content = body["messages"][-1]["content"]
        said = content if isinstance(content, str) else content[-1]["text"]
        asked[said] += 1
        if asked[said] <= sum(map(int, filter(str.isdigit, said))) % 3:
            return failures[len(asked) % 4](exchange, body)
        return says(*(f"{word} " for word in said.split()))(exchange, body)

    server.behaves(echo)
    for number in range(10):
        assert remote.text(f"word {number}") == f"word {number}"
    assert sorted(set(asked.values())) == [1, 2, 3]
    boxes = remote.ground_answers([PICTURE], [f"[0.1,0.2,0.3,0.{n}]" for n in range(10, 30)], grammar=False)[0]
    assert [answer.phrase for answer in boxes] == [f"[0.1,0.2,0.3,0.{n}]" for n in range(10, 30)]
    assert all(answer.phrase in answer.text for answer in boxes)


@pytest.mark.parametrize("behaviour", [stalls(), stalls("A"), refuses(429, Retry_After="60")])
def test_cancel_ends_every_wait(server: ModelServer, behaviour: Behaviour) -> None:
    remote = RemotePipeline.connect([server.url], timeouts=Timeouts(silence=60))
    server.behaves(behaviour)
    begun: list[float] = []

    def cancelled() -> bool:
        if server.bodies and not begun:
            begun.append(time.monotonic() + 0.2)
        return bool(begun) and time.monotonic() > begun[0]

    with pytest.raises(Cancelled):
        remote.caption([PICTURE] * 4, cancelled=cancelled)
    assert time.monotonic() - begun[0] < 1
    if "stalls" in behaviour.__qualname__:
        assert server.hung_up.wait(2), "the server must notice, and stop computing"


def test_cancel_is_heard_while_servers_talk_faster_than_we_listen(server: ModelServer) -> None:
    remote = RemotePipeline.connect([server.url], concurrency=8)
    server.behaves(says(*["a "] * 400))
    shown: list[str] = []

    def slow(row: int, piece: str) -> None:
        shown.append(piece)
        time.sleep(0.02)

    with pytest.raises(Cancelled):
        remote.caption([PICTURE] * 8, on_text=slow, cancelled=lambda: len(shown) >= 5)
    assert len(shown) == 5


def test_what_cancelled_raises_comes_through(server: ModelServer, remote: RemotePipeline) -> None:
    """ComfyUI's interrupt is no ordinary exception."""

    class Interrupt(BaseException):
        pass

    def interrupt() -> bool:
        raise Interrupt

    server.behaves(stalls("A"))
    with pytest.raises(Interrupt):
        remote.caption(PICTURE, cancelled=interrupt)


def test_connecting_can_be_cancelled() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(Cancelled):
            RemotePipeline.connect(
                [f"http://127.0.0.1:{silent.getsockname()[1]}"], cancelled=lambda: time.monotonic() - started > 0.2
            )
        assert time.monotonic() - started < 1


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(RemoteError, match=r"gave no answer, asked 3 times.*refused.*Is it up"):
        RemotePipeline.connect([address])
    with pytest.raises(RemoteError, match=f"The server {address}/v1 gave no answer"):
        RemotePipeline.connect(address)  # alone, not in a list


def test_a_server_that_comes_back_is_found_again(server: ModelServer) -> None:
    """A restart between two requests: the port is closed for a while."""
    remote = RemotePipeline.connect([server.url], retries=Retries(tries=20, first=0.05, longest=0.1))
    port = server.server_port
    server.shutdown()
    server.server_close()

    def start() -> None:
        time.sleep(0.3)
        again.append(ModelServer("iaa-mm", port=port))
        again[0].behaves(GOOD)
        again[0].serve_forever(0.02)

    again: list[Any] = []
    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    assert remote.caption(PICTURE) == ["A red bar."]
    again[0].shutdown()
    again[0].server_close()


TOO_LONG = {
    "vLLM, llama-cpp-python": "This model's maximum context length is 640 tokens, but …",
    "vLLM's engine": "The decoder prompt (length 650) is longer than the maximum model length of 640. Make sure that "
    "`max_model_len` is no smaller than the number of text tokens plus multimodal tokens.",
    "llama-server": "request (650 tokens) exceeds the available context size",
}


def by_status(message: str) -> Behaviour:
    return refuses(400, json.dumps({"error": {"message": message}}))


def by_event(message: str) -> Behaviour:
    """As vLLM does where its engine refuses: the status, 200, is sent already."""
    return streams({"error": {"message": message, "type": "BadRequestError", "param": None, "code": 400}}, "[DONE]")


def by_event_without_status(message: str) -> Behaviour:
    return streams({"error": {"message": message, "code": "context_length_exceeded"}})


@pytest.mark.parametrize("words", TOO_LONG.values(), ids=TOO_LONG)
@pytest.mark.parametrize("refusing", [by_status, by_event, by_event_without_status])
def test_too_long_makes_a_chat_forget(
    server: ModelServer, remote: RemotePipeline, words: str, refusing: Callable[[str], Behaviour]
) -> None:
    def short(exchange: Any, body: dict[str, Any]) -> None:
        return (refusing(words) if len(body["messages"]) > 4 else says("Yes."))(exchange, body)

    server.behaves(short)
    chat = remote.chat(PICTURE)
    assert [chat.say(f"question {n}").forgotten for n in range(4)] == [0, 0, 1, 1]
    assert [m.content for m in chat.conversation.messages][1:] == ["question 2", "Yes.", "question 3", "Yes."]
    assert len(server.bodies) == 6, "each that is too long is sent once"
    server.behaves(refuses(400, json.dumps({"object": "error", "message": words})))
    with pytest.raises(ContextLengthError, match="Shorten it"):
        remote.text("long " * 999)
    with pytest.raises(ContextLengthError, match=r"--max-model-len.*a picture takes the same part whatever its size"):
        remote.caption(PICTURE, "?")


def test_too_few_tokens_for_a_box_are_not_the_servers_fault(server: ModelServer, remote: RemotePipeline) -> None:
    """As of answers made here; but a server that holds no answer to boxes spends any number of tokens on words."""
    server.behaves(says(*BOX[:6], reason="length"))
    with pytest.raises(InputError, match=r"'\[0\.25,0' of iaa-g at .* cut off .*: 6 new tokens .*--max-new-tokens"):
        remote.ground(PICTURE, "cat", max_new_tokens=6)
    assert len(server.bodies) == 2
    server.behaves(says("I", " see", reason="length"))
    with pytest.raises(RemoteError, match=r"'I see' of iaa-g at .* is no box"):
        remote.ground(PICTURE, "cat", max_new_tokens=6)


def test_what_is_no_box(server: ModelServer, remote: RemotePipeline) -> None:
    """From a server that cannot be held to boxes: an error; without the grammar nothing found, as in answers here."""
    server.behaves(says("I", " see", " none", "."))
    with pytest.raises(RemoteError, match=r"'I see none\.' of iaa-g at .* is no box"):
        remote.ground(PICTURE, "cat")
    assert remote.ground(PICTURE, "cat", grammar=False) == [[]]
    server.behaves(says(*BOX[:-1], ";", " ", "[", "0", ".", "2", reason="length"))
    assert len(remote.ground(PICTURE, "cat")[0]) == 1, "what was cut off is left out"


def test_boxes_need_probabilities(server: ModelServer, remote: RemotePipeline) -> None:
    text = {"choices": [{"delta": {"content": "[0.1,0.2,0.3,0.4]"}, "finish_reason": "stop"}]}
    server.behaves(streams(text, "[DONE]"))
    with pytest.raises(RemoteError, match="sends no probabilities"):
        remote.ground(PICTURE, "cat")


def test_addresses_that_were_swapped_are_refused() -> None:
    """The only model of a server was taken whatever its name said, and captions were boxes."""
    for name in ("iaa-g", "exports/iaa-text-q8_0.gguf"):
        with serving(name) as server, pytest.raises(RemoteError, match=r"says MM\. Are two addresses swapped"):
            RemotePipeline.connect([f"MM={server.url}"])
    for name in ("mine", "photo-to-text", "/data/exports/captions-text", "lora-g"):
        with serving(name) as server:
            assert RemotePipeline.connect([f"MM={server.url}"]), "the user says what it is for"


def test_a_list_of_models_that_is_none() -> None:
    for models, message in ((["gpt"], r"None of the models at .* \(gpt\)"), ([], "serves no model")):
        with serving(*models) as server, pytest.raises(RemoteError, match=message):
            RemotePipeline.connect([server.url])
