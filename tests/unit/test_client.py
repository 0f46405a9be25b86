"""docs/client.py without a ComfyUI: what it reads and writes."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("websocket", reason="NO WEBSOCKET-CLIENT: the client goes untested. The extra 'test' brings it.")

GRAPH = {"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}
ANSWER = {"prompt_id": "7", "texts_by_node": {"3": ["a panda 🐼"]}}


@pytest.fixture(scope="module")
def client(project: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("client_to_copy", project / "docs" / "client.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Answering:
    """A ComfyUI that answers every graph alike."""

    def upload(self, picture: Path) -> str:
        return picture.name

    def run(self, graph: Any, told: Any) -> dict[str, Any]:
        return {}

    def answers(self, job: Any) -> dict[str, Any]:
        return ANSWER


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_an_answer_is_written_whatever_the_name_and_the_encoding(
    client: ModuleType, tmp_path: Path, encoding: str
) -> None:
    picture = Path("\udcffphoto.png")  # a name that is no UTF-8
    with (tmp_path / "out.jsonl").open("w", encoding=encoding) as out:
        assert client.run_all(Answering(), GRAPH, [picture], out) == 0
    line = json.loads((tmp_path / "out.jsonl").read_bytes())
    assert line == {"image": str(picture), "graph": client.digest_of(GRAPH), **ANSWER}
    assert client.done_before(tmp_path / "out.jsonl", line["graph"]) == {str(picture)}


@pytest.mark.parametrize(("name", "ending"), [("a.PNG", ".png"), ("a", ""), ('a.p"g', ""), ("a.\udcff", "")])
def test_no_name_breaks_the_head_of_an_upload(
    client: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, ending: str
) -> None:
    sent: list[bytes] = []

    def ask(path: str, body: bytes, kind: str) -> dict[str, str]:
        sent.append(body)
        return {"subfolder": "", "name": ""}

    monkeypatch.setattr(comfyui := client.ComfyUI(), "_ask", ask)
    monkeypatch.setattr(Path, "read_bytes", lambda self: b"content")
    comfyui.upload(tmp_path / name)
    assert re.search(rb'filename="[0-9a-f]{24}' + ending.encode() + rb'"\r\n', sent[0])


def written(client: ModuleType, *names: str) -> bytes:
    """What a run of some pictures writes."""
    out = io.StringIO()
    client.run_all(Answering(), GRAPH, [Path(name) for name in names], out)
    return out.getvalue().encode()


@pytest.mark.parametrize("kept", [1, 5, 40, -2])
def test_after_a_kill_the_same_command_goes_on_and_again(client: ModuleType, tmp_path: Path, kept: int) -> None:
    out, digest, more = tmp_path / "out.jsonl", client.digest_of(GRAPH), written(client, "b.png")
    out.write_bytes(written(client, "a.png") + more[:kept])
    assert client.done_before(out, digest) == {"a.png"}
    with out.open("ab") as file:
        file.write(more)
    assert client.done_before(out, digest) == {"a.png", "b.png"}
    assert out.read_bytes() == written(client, "a.png", "b.png")


def test_a_whole_line_without_its_end_counts_and_gets_one(client: ModuleType, tmp_path: Path) -> None:
    (out := tmp_path / "out.jsonl").write_bytes(written(client, "a.png")[:-1])
    assert client.done_before(out, client.digest_of(GRAPH)) == {"a.png"}
    assert out.read_bytes() == written(client, "a.png")


def test_blank_lines_and_line_ends_of_unicode_end_nothing(client: ModuleType, tmp_path: Path) -> None:
    said = {"image": "a.png", "graph": client.digest_of(GRAPH), "texts_by_node": {"3": ["one\u2028two\x85three"]}}
    (out := tmp_path / "out.jsonl").write_text(f"\n{json.dumps(said, ensure_ascii=False)}\r\n \n", encoding="utf-8")
    assert client.done_before(out, said["graph"]) == {"a.png"}


@pytest.mark.parametrize("other", ["my notes", "my notes\n", "[1]\n", '{"image": "b.pn\n'])
def test_another_file_is_refused_and_stays(client: ModuleType, tmp_path: Path, other: str) -> None:
    (out := tmp_path / "out.jsonl").write_bytes(content := written(client, "a.png") + other.encode())
    with pytest.raises(client.RefusedError, match=r"out\.jsonl, line 2: no answer"):
        client.done_before(out, client.digest_of(GRAPH))
    assert out.read_bytes() == content


@pytest.mark.parametrize("content", [b"no json", b"\xff\xfe", b"[]", b'{"1": {"class_type": "LoadImage"}}'])
def test_what_is_no_graph_is_named(client: ModuleType, tmp_path: Path, content: bytes) -> None:
    (path := tmp_path / "graph.json").write_bytes(content)
    with pytest.raises(client.RefusedError, match=r"graph\.json is no graph in API format"):
        client.read_graph(path)
    path.write_text(json.dumps(GRAPH), encoding="utf-8-sig")
    assert client.read_graph(path) == GRAPH


def test_a_folder_without_pictures_is_refused(client: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.heic").touch()
    with pytest.raises(client.RefusedError, match=r"no picture in .* Endings looked for: \.avif, "):
        list(client.pictures_of([str(tmp_path)]))
    assert list(client.pictures_of([str(tmp_path / "a.heic")])) == [tmp_path / "a.heic"]
