"""The key: who gets it, and who never reads it."""

from __future__ import annotations

import json

import pytest
from model_server import ModelServer, refuses, says, streams

from iaa_runtime.errors import InputError, RemoteError
from iaa_runtime.pipeline.remote import RemotePipeline
from iaa_runtime.pipeline.remote.keys import key_for

KEY = "sesame-1234"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment, for nobody."""
    monkeypatch.setenv("IAA_API_KEY", KEY)
    monkeypatch.delenv("IAA_API_HOSTS", raising=False)


def keys_sent(server: ModelServer) -> list[str | None]:
    server.headers.clear()
    RemotePipeline.connect([server.url]).text("hi")
    return [headers.get("Authorization") for headers in server.headers]


def test_it_goes_to_the_named_port_alone(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    port = server.server_port
    for nobody in ("", "127.0.0.1", f"127.0.0.1:{port ^ 1}", f"localhost:{port}", f"example.org:{port}"):
        monkeypatch.setenv("IAA_API_HOSTS", nobody)
        assert keys_sent(server) == [None] * 2
    monkeypatch.setenv("IAA_API_HOSTS", f"example.org, 127.0.0.1:{port}")
    assert keys_sent(server) == [f"Bearer {KEY}"] * 2
    assert KEY not in json.dumps(server.bodies)


@pytest.mark.parametrize(
    ("hosts", "url", "goes"),
    [
        ("gpu.example", "https://gpu.example/v1", True),
        ("GPU.example:443", "https://gpu.EXAMPLE/v1", True),
        ("gpu.example:8443", "https://gpu.example:8443/v1", True),
        ("gpu.example", "https://gpu.example:8443/v1", False),
        ("gpu.example:8443", "https://gpu.example/v1", False),
        ("gpu.example:8443", "https://gpu.example.evil:8443/v1", False),
        ("gpu.example:8000", "http://gpu.example:8000/v1", False),
        ("192.168.0.7:8000", "http://192.168.0.7:8000/v1", False),
        ("0.0.0.0:8000", "http://0.0.0.0:8000/v1", False),
        ("localhost:8000,[::1]:8000", "http://localhost:8000/v1", True),
        ("localhost:8000,[::1]:8000", "http://[::1]:8000/v1", True),
        ("localhost", "http://localhost/v1", True),
        ("localhost.example:80", "http://localhost.example/v1", False),
        ("127.0.0.1.example:80", "http://127.0.0.1.example/v1", False),
        ("*", "https://gpu.example/v1", False),
        ("gpu.example:port, [", "https://gpu.example/v1", False),
    ],
)
def test_where_it_may_go(hosts: str, url: str, goes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IAA_API_HOSTS", hosts)
    assert key_for(url) == (KEY if goes else None)


@pytest.mark.parametrize(
    "spoiled", [f"{KEY}\r", f"{KEY}\n", f" {KEY}", "sesame\r\n-1234", "sesame\x1b", "sesame\u00e4", "\x00"]
)
def test_a_key_that_is_none_is_refused_without_showing_it(
    server: ModelServer, spoiled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.environ", {"IAA_API_KEY": spoiled, "IAA_API_HOSTS": f"127.0.0.1:{server.server_port}"})
    with pytest.raises(InputError, match="IAA_API_KEY holds a character that no key has") as error:
        RemotePipeline.connect([server.url])
    assert "sesame" not in str(error.value)
    assert server.headers == []


def test_a_server_that_repeats_it_does_not_make_us_show_it(server: ModelServer, remote: RemotePipeline) -> None:
    said = {"error": {"message": f"Incorrect API key: {KEY}."}}
    for behaviour in (
        refuses(401, json.dumps(said)),
        refuses(500, json.dumps(said)),
        streams(said),
        says(KEY, reason=KEY),
    ):
        server.behaves(behaviour)
        with pytest.raises(RemoteError) as error:
            remote.text("hi")
        assert KEY not in str(error.value) and "(the key)" in str(error.value)


def test_a_key_for_show_does_not_garble_messages(
    server: ModelServer, remote: RemotePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IAA_API_KEY", "x")
    server.behaves(refuses(400, '{"error": {"message": "an expert is missing"}}'))
    with pytest.raises(RemoteError, match="an expert is missing"):
        remote.text("hi")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_tells_the_rule(server: ModelServer, remote: RemotePipeline, status: int) -> None:
    server.behaves(refuses(status))
    with pytest.raises(RemoteError, match=r"IAA_API_HOSTS as HOST:PORT\? Over plain http it goes to this machine only"):
        remote.text("hi")
