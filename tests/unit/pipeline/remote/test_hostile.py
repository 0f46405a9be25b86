"""Servers that mean harm: answers without an end, pages that nobody is to read, probabilities that are none."""

from __future__ import annotations

import json
import time
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from model_server import BOX, Behaviour, Exchange, ModelServer, babbles, refuses, repeats, says, streams
from PIL import Image

from iaa_runtime.errors import RemoteError
from iaa_runtime.pipeline.remote import RemotePipeline, Retries, Timeouts, servers

PICTURE = Image.new("RGB", (40, 20), "red")
SECRET = "launch code 0000"


def token(text: str) -> bytes:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n".encode()


def token_spelled(text: str) -> bytes:
    told = {"content": [{"token": text, "logprob": -1}]}
    return f"data: {json.dumps({'choices': [{'delta': {'content': 'a'}, 'logprobs': told}]})}\n\n".encode()


def counts(exchange: Exchange, body: dict[str, Any]) -> None:
    """An answer of G that never comes to its end."""
    exchange.begin()
    while not exchange.server.released.is_set():
        exchange.token("0")


TOO_MUCH: dict[str, tuple[Behaviour, str]] = {
    "tokens": (counts, "goes on beyond the 128 tokens"),
    "words": (repeats(token("word ")), "goes on beyond the 128 tokens"),
    "empty words": (repeats(token("")), "goes on beyond the 128 tokens"),
    "a long word": (repeats(token("word" * 5000)), "goes on beyond the 128 tokens"),
    "comments": (repeats(b": still here\n\n"), "more than 1,572,864 bytes"),
    "events without choices": (repeats(b'data: {"choices": []}\n\n'), "more than 1,572,864 bytes"),
    "empty lines": (repeats(b"\n"), "more than 1,572,864 bytes"),
    "one line": (repeats(b"data: " * 1000), "a line of it has more than 1,048,576 bytes"),
    "a token": (repeats(token_spelled("x" * 129)), "a token of it has 129 characters"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("endless", "message"), TOO_MUCH.values(), ids=TOO_MUCH)
def test_an_answer_without_an_end_is_no_answer(
    server: ModelServer, remote: RemotePipeline, endless: Behaviour, message: str
) -> None:
    server.behaves(endless)
    tracemalloc.start()
    try:
        with pytest.raises(RemoteError, match=message):
            remote.ground(PICTURE, "cat")
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()
    assert len(server.bodies) == 1, "asking again would be no better"
    assert server.hung_up.wait(2)


@pytest.mark.parametrize("size", [b"-1", b"-5", b"f" * 24])
@pytest.mark.parametrize("status", [200, 500])
def test_a_chunk_of_a_size_that_there_is_not_breaks_the_answer_off(
    server: ModelServer, size: bytes, status: int
) -> None:
    """Of -1 byte, Python's own client reads without an end."""

    def behave(exchange: Exchange, body: dict[str, Any]) -> None:
        exchange.send_response(status)
        exchange.send_header("Transfer-Encoding", "chunked")
        exchange.end_headers()
        exchange.wfile.write(size + b"\r\n")
        babbles(b"x" * 100_000)(exchange, body)

    server.behaves(behave)
    remote = RemotePipeline.connect([server.url], timeouts=Timeouts(silence=1, whole=3), retries=Retries(tries=1))
    tracemalloc.start()
    try:
        with pytest.raises(RemoteError, match=r"broke off|is no HTTP"):
            remote.caption(PICTURE)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_long_answer_in_small_pieces_takes_time_linear_in_it(server: ModelServer) -> None:
    """Each piece copied all of the text before it, which took minutes."""
    pieces, tokens = 40_000, 8192

    def behave(exchange: Exchange, body: dict[str, Any]) -> None:
        exchange.send_response(200)
        exchange.end_headers()
        exchange.wfile.write(token("\U0001f600" * 24) * pieces)
        exchange.wfile.write(b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n')
        exchange.close_connection = True

    server.behaves(behave)
    shown: list[str] = []
    started = time.process_time()
    (answer,) = RemotePipeline.connect([server.url]).caption(
        [PICTURE], max_new_tokens=tokens, on_text=lambda row, piece: shown.append(piece)
    )
    assert time.process_time() - started < 10
    assert answer == "".join(shown) == "\U0001f600" * 24 * pieces


def test_two_answers_are_not_run_together(server: ModelServer, remote: RemotePipeline) -> None:
    server.behaves(streams({"choices": [{"index": n, "delta": {"content": word}} for n, word in enumerate("ab")]}))
    with pytest.raises(RemoteError, match="several answers"):
        remote.caption(PICTURE)


DRIPS = {
    "words": repeats(token("a"), 0.05),
    "comments": repeats(b": still here\n", 0.05),
    "bytes of a line": repeats(b"x", 0.05),
    "bytes of the head": babbles(b"H", 0.05),
    "heads before the answer": babbles(b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
}


@pytest.mark.parametrize("drip", DRIPS.values(), ids=DRIPS)
def test_an_answer_that_drips_has_one_deadline(server: ModelServer, drip: Behaviour) -> None:
    """Each piece comes before the silence is too long."""
    remote = RemotePipeline.connect([server.url], timeouts=Timeouts(silence=0.5, whole=1), retries=Retries(first=0.01))
    server.behaves(drip)
    started = time.monotonic()
    with pytest.raises(RemoteError, match="had not ended its answer after 1 s"):
        remote.caption(PICTURE)
    assert 1 <= time.monotonic() - started < 3
    assert len(server.bodies) == 1


def test_a_refusal_that_drips_has_the_same_deadline(server: ModelServer) -> None:
    remote = RemotePipeline.connect([server.url], timeouts=Timeouts(silence=0.5, whole=1))

    def refuse(exchange: Exchange, body: dict[str, Any]) -> None:
        exchange.send_response(500)
        exchange.end_headers()
        babbles(b"x", 0.05)(exchange, body)

    server.behaves(refuse)
    with pytest.raises(RemoteError, match="had not ended its answer after 1 s"):
        remote.caption(PICTURE)


def test_a_list_of_models_that_drips_has_one_too(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_TIMEOUTS", replace(servers._TIMEOUTS, whole=0.5))
    for drip in (repeats(b" ", 0.05), babbles(b"HTTP/1.1 100 Continue\r\n\r\n", 0.05)):
        server.lists = drip
        with pytest.raises(RemoteError, match=r"had not ended its answer after 0\.5 s"):
            RemotePipeline.connect([server.url])


def test_a_list_of_models_without_an_end_is_none(server: ModelServer) -> None:
    server.lists = repeats(b"[" * 10000)
    with pytest.raises(RemoteError, match="gives no list of models"):
        RemotePipeline.connect([server.url])


def test_the_deadline_grows_with_patience() -> None:
    assert Timeouts().deadline == 1200
    assert Timeouts(silence=1).deadline == 600, "silence is between two words, and an answer has many"
    assert Timeouts(silence=3600).deadline == 36000
    assert Timeouts(whole=5).deadline == 5


PAGES: dict[str, Behaviour] = {
    "404": refuses(404, f"<html>{SECRET}</html>"),
    "400": refuses(400, f"maximum context length {SECRET}"),
    "500": refuses(500, f"<html>{SECRET}</html>"),
    "other JSON": refuses(400, json.dumps({"message": SECRET, "detail": SECRET, "kind": "Status"})),
    "an error in words": refuses(400, json.dumps({"error": SECRET})),
    "a list": refuses(400, json.dumps([{"error": {"message": SECRET}}])),
    "deep JSON": refuses(400, "[" * 60000),
    "a page as the answer": lambda exchange, body: exchange.send(200, f"{SECRET}\n"),
    "an event": streams(SECRET),
    "content": streams({"choices": [{"delta": {"content": [SECRET]}}]}),
    "a finish": streams({"choices": [{"delta": {}, "finish_reason": [SECRET]}]}),
    "a probability": streams(
        {"choices": [{"delta": {}, "logprobs": {"content": [{"token": "a", "logprob": SECRET}]}}]}
    ),
    "an error event": streams({"error": {"text": SECRET}}),
    "deep events": streams("[" * 60000),
    "a banner": babbles(f"SSH-2.0-{SECRET}\r\n".encode()),
    "a head": babbles(f"HTTP/9.9 {SECRET}\r\n\r\n".encode()),
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_what_lies_behind_an_address_is_not_shown(server: ModelServer, remote: RemotePipeline, page: Behaviour) -> None:
    server.behaves(page)
    with pytest.raises(RemoteError) as error:
        remote.caption(PICTURE)
    assert SECRET not in str(error.value)
    assert len(str(error.value)) < 300


LISTS = [
    SECRET,
    json.dumps({"data": SECRET}),
    json.dumps({"data": [{"id": {SECRET: 1}}]}),
    json.dumps({"data": [{"id": "iaa-g", "max_model_len": SECRET}]}),
    '{"data": [{"id": "iaa-g", "max_model_len": 1e999}]}',
    '{"data": [{"id": "iaa-g", "max_model_len": NaN}]}',
    '{"data": [{"id": "iaa-g", "max_model_len": ' + "9" * 5000 + "}]}",
    json.dumps({"data": [{"id": f"{SECRET}\x1b[2J-g"}]}),
    json.dumps({"data": [{"id": f"{SECRET}\ud800-g"}]}),
    json.dumps({"data": [{"id": "x" * 5000 + "-g"}]}),
    "[" * 60000,
]


@pytest.mark.parametrize("listing", LISTS, ids=range(len(LISTS)))
def test_a_list_of_models_that_is_none_is_not_shown(server: ModelServer, listing: str) -> None:
    server.lists = lambda exchange, body: exchange.send(200, listing)
    with pytest.raises(RemoteError, match="gives no list of models") as error:
        RemotePipeline.connect([server.url])
    assert SECRET not in str(error.value)


def test_the_key_is_no_name_of_a_model(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IAA_API_KEY", SECRET)
    server.lists = lambda exchange, body: exchange.send(200, json.dumps({"data": [{"id": f"{SECRET}-mm"}]}))
    with pytest.raises(RemoteError, match="gives no list of models") as error:
        RemotePipeline.connect([server.url])
    assert SECRET not in str(error.value)


def test_the_apis_own_message_is_shown_clean_and_short(server: ModelServer, remote: RemotePipeline) -> None:
    for error in (
        {"error": {"message": "no\n\x1b[2J \x9b8m\u202eroom" + "!" * 999}},
        {"object": "error", "message": "no"},
    ):
        server.behaves(refuses(400, json.dumps(error)))
        with pytest.raises(RemoteError, match=r"refused \(status 400: no") as shown:
            remote.caption(PICTURE)
        assert str(shown.value).isprintable()
        assert len(str(shown.value)) < 450


def test_many_models_make_no_long_message(server: ModelServer) -> None:
    server.models = [f"model {number}" for number in range(10_000)]
    with pytest.raises(RemoteError, match="None of the models") as error:
        RemotePipeline.connect([server.url])
    assert len(str(error.value)) < 700


@pytest.mark.parametrize(
    "logprob",
    [float("nan"), float("inf"), float("-inf"), 5.0, 0.1, None, "-0.5", True, [], 10**400, -(10**400)],
    ids=lambda value: str(value)[:6],
)
def test_no_score_is_made_of_what_is_no_probability(server: ModelServer, remote: RemotePipeline, logprob: Any) -> None:
    server.behaves(says(*BOX, logprob=logprob))
    with pytest.raises(RemoteError, match="a log-probability that is none"):
        remote.ground(PICTURE, "cat")


def test_no_score_is_made_of_what_is_missing(server: ModelServer, remote: RemotePipeline) -> None:
    def event(text: str, *told: str) -> dict[str, Any]:
        probabilities = [{"token": piece, "logprob": -0.5} for piece in told]
        return {"choices": [{"delta": {"content": text}, "logprobs": {"content": probabilities} if told else None}]}

    end = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    box = "[0.1,0.2,0.3,0.4]"
    for told in (("[0.1,0.2",), (box, "; ", box), ("[0.1,", "Ġ0.2,0.3,0.4]"), ("[0.9,0.9,0.9,0.9]",)):
        server.behaves(streams(event(box, *told), end, "[DONE]"))
        with pytest.raises(RemoteError, match="are not those of the boxes"):
            remote.ground(PICTURE, "cat")
    server.behaves(streams({"choices": [{"delta": {"content": box}, "logprobs": {"content": [{"token": box}]}}]}, end))
    with pytest.raises(RemoteError, match="a log-probability that is none"):
        remote.ground(PICTURE, "cat")
    server.behaves(streams(event(box, box), end, "[DONE]"))
    assert len(remote.ground(PICTURE, "cat")[0]) == 1


def test_a_probability_of_one_may_be_rounded_up(server: ModelServer, remote: RemotePipeline) -> None:
    server.behaves(says(*BOX, logprob=1e-6))
    ((found,),) = remote.ground(PICTURE, "cat")
    assert found.score == 1


def test_half_characters_do_not_come_through(server: ModelServer, remote: RemotePipeline) -> None:
    server.behaves(streams(r'{"choices": [{"delta": {"content": "a\ud800b \ud83d\ude00"}, "finish_reason": "stop"}]}'))
    assert remote.text("hi") == "a\ufffdb \U0001f600"


@pytest.mark.parametrize("said", ["9" * 400, "٣", "Thu, 01 Jan 9999 00:00:00 -9900", "Thu, 99 Jan 2020", "\x00", "1e9"])
def test_retry_after_may_say_anything(said: str) -> None:
    pause = Retries().pause(1, said)
    assert pause is None or 0 <= pause <= 300
