"""``--server``: the command line asks servers instead of a model here."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from model_server import BOX, Behaviour, Exchange, ModelServer, drops, refuses, says
from PIL import Image

from iaa_runtime.cli import main
from iaa_runtime.images.load import load_image
from iaa_runtime.pipeline.remote.messages import data_url


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten pictures, and one that is none."""
    (tmp_path / "photos").mkdir()
    for number in range(10):
        Image.new("RGB", (40, 20), (number, 0, 0)).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "photos" / "4b.png").write_bytes(b"broken")
    return tmp_path / "photos"


def answer(exchange: Exchange, body: dict[str, Any]) -> None:
    """Boxes from G, words from the others; and how likely an answer is that it is given."""
    if not body["stream"]:
        told = [{"1": {"logprob": -1.0, "decoded_token": body["messages"][-1]["content"]}}]
        return exchange.send(200, json.dumps({"prompt_logprobs": told}))
    return (says(*BOX) if body["model"] == "iaa-g" else says("A", " bar", "."))(exchange, body)


def test_single_commands(server: ModelServer, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.behaves(answer)
    one = ["--image", str(photos / "0.png"), "--server", server.url, "--json"]
    assert main(["caption", *one]) == 0
    assert json.loads(capsys.readouterr().out)["caption"] == "A bar."
    assert main(["ground", "--phrase", "the bar", *one]) == 0
    (found,) = json.loads(capsys.readouterr().out)["detections"]
    assert (found["x"], found["y"], found["width"], found["height"]) == (10, 0, 20, 10)
    assert main(["text", "--prompt", "hi", "--server", f"Text={server.url}"]) == 0
    assert capsys.readouterr().out == "A bar.\n"


def test_a_failing_server_prints_no_answer(
    server: ModelServer, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.behaves(refuses(400, '{"error": {"message": "the model is out"}}'))
    assert main(["caption", "--image", str(photos / "0.png"), "--server", server.url, "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and "the model is out" in err


REFUSALS = {
    "a picture": (refuses(400, '{"error": {"message": "cannot identify image file"}}'), "cannot identify"),
    "a large picture": (refuses(413, "<html>nginx</html>"), "status 413"),
    "a long question": (refuses(400, '{"error": {"message": "maximum context length is 640"}}'), "too long"),
}
WRONG_SERVERS = {
    "key": refuses(401),
    "address": refuses(404, '{"error": {"message": "The model `iaa-mm` does not exist."}}'),
    "model": refuses(400, '{"error": {"message": "model \'iaa-mm\' not found", "code": 400}}'),
}


def refuses_picture(path: str, refusal: Behaviour) -> Behaviour:
    refused = data_url(load_image(path))
    return lambda exchange, body: (refusal if refused in json.dumps(body) else answer)(exchange, body)


def asked_about_three(
    server: ModelServer, photos: Path, words: list[str], failure: Behaviour, capsys: pytest.CaptureFixture[str]
) -> str:
    """A command about three pictures, of which the second alone fails; returns the error in its record."""
    asked = [str(photos / f"{number}.png") for number in range(3)]
    server.behaves(refuses_picture(asked[1], failure))
    assert main([*words, *asked, "--server", server.url, "--json"]) == 1
    out, err = capsys.readouterr()
    told = [json.loads(line) for line in out.splitlines()]
    assert [record["image"] for record in told] == asked
    assert ["error" in record for record in told] == [False, True, False]
    assert f"{asked[1]}: " in err
    return str(told[1]["error"])


@pytest.mark.parametrize("words", [["caption"], ["ground", "--phrase", "the bar"], ["label"]])
@pytest.mark.parametrize(("refusal", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_what_a_server_refuses_costs_its_picture_alone(
    server: ModelServer,
    photos: Path,
    words: list[str],
    refusal: Behaviour,
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All pictures behind it had no answer."""
    assert reason in asked_about_three(server, photos, words, refusal, capsys)


FAILURES = {"500": refuses(500, '{"error": {"message": "cannot decode"}}'), "a drop": drops()}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other without a pause."""
    monkeypatch.setattr("iaa_runtime.pipeline.remote.retries.random.uniform", lambda low, high: 0.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "words",
    [
        ["caption"],
        ["ground", "--phrase", "the bar"],
        ["label"],
        ["choose", "--question", "?", "--choice", "a", "--choice", "b"],
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_picture_that_a_server_stumbles_over_costs_itself_alone(
    server: ModelServer, photos: Path, words: list[str], failure: Behaviour, capsys: pytest.CaptureFixture[str]
) -> None:
    """A status of 500 ended the run, since it is also what a server says that answers nobody."""
    error = asked_about_three(server, photos, words, failure, capsys)
    assert "asked 6 times, though it answers others" in error


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_server_that_answers_about_no_picture_ends_the_run(
    server: ModelServer, photos: Path, failure: Behaviour, capsys: pytest.CaptureFixture[str]
) -> None:
    server.behaves(answer, failure)
    asked = [str(photos / f"{number}.png") for number in range(10)]
    assert main(["caption", *asked, "--server", server.url, "--json"]) == 1
    out, err = capsys.readouterr()
    (told,) = map(json.loads, out.splitlines())
    assert told["caption"] and "gave no answer, asked 6 times" in err and "Is it up" in err
    assert len(server.bodies) == 1 + 6 + 6, "the second picture, and a grey one"


@pytest.mark.usefixtures("impatient")
def test_a_picture_that_a_server_stumbles_over_costs_its_record_alone(
    server: ModelServer, photos: Path, tmp_path: Path
) -> None:
    (photos / "4b.png").unlink()
    server.behaves(refuses_picture(str(photos / "1.png"), FAILURES["500"]))
    assert main(["annotate", str(photos), "--caption", "--out", str(tmp_path / "out"), "--server", server.url]) == 0
    (failed,) = (record for record in records(tmp_path / "out") if "error" in record)
    assert failed["image"].endswith("1.png") and "though it answers others" in failed["error"]


def test_what_a_server_refuses_costs_its_record_alone(server: ModelServer, photos: Path, tmp_path: Path) -> None:
    (photos / "4b.png").unlink()
    server.behaves(refuses_picture(str(photos / "1.png"), REFUSALS["a picture"][0]))
    assert main(["annotate", str(photos), "--caption", "--out", str(tmp_path / "out"), "--server", server.url]) == 0
    (failed,) = (record for record in records(tmp_path / "out") if "error" in record)
    assert failed["image"].endswith("1.png") and "cannot identify" in failed["error"]


@pytest.mark.parametrize("refusal", WRONG_SERVERS.values(), ids=WRONG_SERVERS)
def test_what_a_server_refuses_to_anybody_ends_the_run(
    server: ModelServer, photos: Path, refusal: Behaviour, capsys: pytest.CaptureFixture[str]
) -> None:
    server.behaves(refusal)
    assert main(["caption", *(str(photos / f"{n}.png") for n in range(3)), "--server", server.url, "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and "refused" in err and len(server.bodies) == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--server", "nowhere"], 2, "is no address"),
        (["--server", "http://127.0.0.1:9", "--model", "x"], 2, "Give one of them"),
    ],
)
def test_wrong_arguments(words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        ended = main(["text", "--prompt", "hi", *words])
    except SystemExit as stop:
        ended = int(stop.code or 0)
    assert ended == code
    assert message in capsys.readouterr().err


def records(out: Path) -> list[dict[str, Any]]:
    lines = [line for shard in sorted(out.glob("shard-*")) for line in shard.read_text(encoding="utf-8").splitlines()]
    return [json.loads(line) for line in lines]


def test_annotate_loses_nothing_when_its_server_dies(
    server: ModelServer, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The job stops with an error, keeps what is whole, and goes on: the same as an unbroken run."""
    words = ["annotate", str(photos), "--caption", "--phrase", "the bar", "--server", server.url]
    words += ["--batch", "2", "--shard-size", "4"]
    server.behaves(answer)
    assert main([*words, "--out", str(tmp_path / "unbroken")]) == 0

    def dies(exchange: Exchange, body: dict[str, Any]) -> None:
        (answer if len(server.bodies) < asked + 12 else refuses(400, '{"error": {"message": "no such model"}}'))(
            exchange, body
        )

    asked = len(server.bodies)
    server.behaves(dies)
    assert main([*words, "--out", str(tmp_path / "out")]) == 1
    assert "no such model" in capsys.readouterr().err
    assert len(records(tmp_path / "out")) == 4
    server.behaves(answer)
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    made = records(tmp_path / "out")
    assert made == records(tmp_path / "unbroken")
    assert [Path(record["image"]).name for record in made if "error" in record] == ["4b.png"]
    assert all(record["caption"] == "A bar." and record["detections"] for record in made if "error" not in record)
    assert len(made) == 11


def test_refcoco_over_a_server(
    server: ModelServer, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"expression": "the bar", "img_path": "0.png", "bbox": [10, 0, 30, 10], "width": 40, "height": 20}
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row | {"sent_id": n}) + "\n" for n in range(5)))
    server.behaves(answer)
    files = ["--annotations", str(tmp_path / "a.jsonl"), "--images", str(photos), "--out", str(tmp_path / "p.jsonl")]
    assert main(["eval", "refcoco", *files, "--server", server.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["precision_at_0.5"] == 1
    asked = server.bodies[0]["messages"][1]["content"][1]["text"]
    assert asked.endswith(": the bar"), "as the published evaluation asks"


@pytest.mark.skipif(os.name != "posix", reason="sends Ctrl-C as a signal")
def test_ctrl_c_does_not_wait_for_a_server_that_is_silent_while_a_key_is_agreed_on(project: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        words = ["text", "--prompt", "hi", "--server", f"https://127.0.0.1:{silent.getsockname()[1]}/v1"]
        process = subprocess.Popen(
            [sys.executable, "-m", "iaa_runtime", *words],
            cwd=project,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background ignores it
        )
        with silent.accept()[0] as connected:
            assert connected.recv(1) == b"\x16", "the handshake has begun"
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=5)[1] == b"\nInterrupted.\n", "the connection has 10 s"
            assert process.returncode == 130
