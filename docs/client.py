"""Runs a graph on a ComfyUI for one picture after the other and writes what comes out, one line of JSON a picture.

    pip install websocket-client
    python client.py workflows/api/ground.json photos --set "3.phrases=the dog" --out found.jsonl

Made to be copied: beside Python's own library it needs websocket-client, and nothing of this project. The graph is in
API format; pictures go where it has a LoadImage or an IAA_DemoScene. Ctrl-C cancels; the same command goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import websocket

Graph = dict[str, dict[str, Any]]
Told = Callable[[str, float, str], None]
"""Hears how far a run is: the node, the part of it that is done (0 to 1), and the end of what it writes."""

PICTURES = {".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
"""Endings of the files in a folder that are pictures; one that is named itself may have any."""
BEGINNING = b'{"image": '
"""Of each line that is written."""
ENDED = {"completed", "failed", "cancelled"}
SILENCE = 10
"""Seconds without a message after which the server is asked whether the run goes on."""


class RefusedError(Exception):
    """The graph cannot be run as it is, or there is no server; no picture would change that."""


class FailedError(Exception):
    """A node failed on this picture."""


class ComfyUI:
    """Talks to a running ComfyUI.

    Args:
        server: its address, as the browser shows it.
    """

    def __init__(self, server: str = "http://127.0.0.1:8188") -> None:
        self.server = (server if "://" in server else f"http://{server}").rstrip("/")
        self._client_id = uuid.uuid4().hex
        self._socket: websocket.WebSocket | None = None

    def upload(self, picture: Path) -> str:
        """Puts a picture into ComfyUI's input folder, named by its content; returns what LoadImage takes."""
        content, boundary = picture.read_bytes(), uuid.uuid4().hex
        ending = picture.suffix.lower() if picture.suffix.isascii() and picture.suffix[1:].isalnum() else ""
        name = f"{hashlib.sha256(content).hexdigest()[:24]}{ending}"
        head = (
            f'Content-Disposition: form-data; name="image"; filename="{name}"\r\nContent-Type: application/octet-stream'
        )
        body = b"--%s\r\n%s\r\n\r\n%s\r\n--%s--\r\n" % (boundary.encode(), head.encode(), content, boundary.encode())
        stored = self._ask("/upload/image", body, f"multipart/form-data; boundary={boundary}")
        return "/".join(filter(None, (stored["subfolder"], stored["name"])))

    def run(self, graph: Graph, told: Told = lambda node, part, text: None) -> dict[str, Any]:
        """Queues a graph and waits for its end; returns the job. Whatever stops the waiting cancels the run.

        Raises:
            RefusedError: the graph is wrong, or the server is away.
            FailedError: a node failed, or somebody else cancelled the run.
        """
        self._connect()  # first, so that nothing is missed
        prompt_id = self._queue(graph)
        try:
            self._follow(graph, prompt_id, told)
            job = self.job(prompt_id)
        except BaseException:
            self.cancel(prompt_id)
            raise
        if job["status"] == "completed":
            return job
        error = job.get("execution_error") or {}
        if job["status"] == "cancelled" or not error:
            raise FailedError(f"The run was {job['status']}.")
        raise FailedError(f"Node {error['node_id']} ({error['node_type']}): {error['exception_message'].strip()}")

    def job(self, prompt_id: str) -> dict[str, Any]:
        """What the server says of a run: its status, its outputs, and what went wrong."""
        return dict(self._ask(f"/api/jobs/{prompt_id}"))

    def cancel(self, prompt_id: str) -> None:
        """Takes a run out of the queue, or stops it if it is under way, within a token; no other run is touched."""
        self._ask("/queue", {"delete": [prompt_id]})
        self._ask("/interrupt", {"prompt_id": prompt_id})

    def has_input(self, kind: str, name: str) -> bool:
        """Whether a kind of node has an input; those of a group are named ``GROUP.INPUT``."""
        known = self._ask(f"/object_info/{urllib.parse.quote(kind)}").get(kind, {}).get("input", {})
        return any(name.partition(".")[0] in inputs for inputs in known.values())

    def answers(self, job: dict[str, Any]) -> dict[str, Any]:
        """What a run gave: texts and boxes by node, and the addresses of files as ``comfy run`` lists them."""
        found: dict[str, dict[str, Any]] = {"texts_by_node": {}, "boxes_by_node": {}, "outputs_by_node": {}}
        for node, shown in (job.get("outputs") or {}).items():
            if "text" in shown:
                found["texts_by_node"][node] = shown["text"]
            if "iaa_boxes" in shown:
                found["boxes_by_node"][node] = shown["iaa_boxes"]
            if files := [item for kind in ("images", "files") for item in shown.get(kind, ())]:
                found["outputs_by_node"][node] = [
                    f"{self.server}/view?{urllib.parse.urlencode(item)}" for item in files
                ]
        return {"prompt_id": job["id"]} | found

    def _queue(self, graph: Graph) -> str:
        answer = self._ask("/prompt", {"prompt": graph, "client_id": self._client_id})
        if answer["node_errors"]:  # a branch that is wrong is left out while the others run
            self.cancel(answer["prompt_id"])
            raise RefusedError(_sentence(answer["node_errors"]))
        return str(answer["prompt_id"])

    def _connect(self) -> None:
        if self._socket is None or not self._socket.connected:
            try:
                address = f"ws{self.server.removeprefix('http')}/ws?clientId={self._client_id}"
                self._socket = websocket.create_connection(address, timeout=SILENCE)
            except (OSError, ValueError, websocket.WebSocketException) as error:
                raise RefusedError(_away(self.server, error)) from None

    def _follow(self, graph: Graph, prompt_id: str, told: Told) -> None:
        node, part, text = "", 0.0, ""
        while True:
            try:
                message = self._socket.recv() if self._socket else ""
            except websocket.WebSocketTimeoutException:
                message = ""
            except (OSError, websocket.WebSocketException):
                time.sleep(1)
                self._connect()
                message = ""
            if not message:
                if self.job(prompt_id)["status"] in ENDED:
                    return
                continue
            if isinstance(message, bytes):
                if message[:4] == b"\0\0\0\3":  # a text that grows, behind the length of the node's id and the id
                    text = message[8 + int.from_bytes(message[4:8], "big") :].decode(errors="replace")
                    told(node, part, text)
                continue
            kind, data = (event := json.loads(message))["type"], event["data"]
            if data.get("prompt_id") != prompt_id:
                continue
            if kind in ("execution_success", "execution_error", "execution_interrupted"):
                while self.job(prompt_id)["status"] not in ENDED:  # which is written just behind the message
                    time.sleep(0.05)
                return
            if kind == "executing" and data["node"]:
                node, part, text = graph.get(data["node"], {}).get("class_type", data["node"]), 0.0, ""
                told(node, part, text)
            elif kind == "progress":
                part = data["value"] / max(1, data["max"])
                told(node, part, text)

    def _ask(self, path: str, content: Any = None, kind: str = "application/json") -> Any:
        data = content if content is None or isinstance(content, bytes) else json.dumps(content).encode()
        request = urllib.request.Request(self.server + path, data, {"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            raise RefusedError(_reason(path, error)) from None
        except (OSError, ValueError) as error:
            raise RefusedError(_away(self.server, error)) from None


def _away(server: str, error: Exception) -> str:
    return f"No ComfyUI answers at {server} ({error}). Start it, or say where it is with --server."


def _reason(path: str, error: urllib.error.HTTPError) -> str:
    """What a server's refusal says, in a sentence."""
    content = error.read()
    try:
        said = json.loads(content)
        return _sentence(said.get("node_errors") or {}) or said["error"]["message"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"ComfyUI refused {path} ({error}): {content[:200].decode(errors='replace')}"


def _sentence(node_errors: dict[str, Any]) -> str:
    """Each node's errors, with the id and the kind of the node."""
    found = []
    for node, of_it in node_errors.items():
        for error in of_it["errors"]:
            details = error["details"]
            own = error["type"] == "custom_validation_failed"  # a node's own sentence, behind the input's name
            reason = details.partition(" - ")[2] if own else f"{error['message']}: {details}"
            found.append(f"Node {node} ({of_it['class_type']}): {reason}")
    return "\n".join(found)


def read_graph(path: Path) -> Graph:
    """A graph in API format; raises :class:`RefusedError` for what is none."""
    try:
        graph = json.loads(path.read_bytes())
    except ValueError:
        graph = None
    if isinstance(graph, dict) and all(
        isinstance(node, dict) and {"class_type", "inputs"} <= node.keys() for node in graph.values()
    ):
        return graph
    raise RefusedError(
        f"{path} is no graph in API format. Export it as such (Workflow > Export (API)); those of the templates are in "
        "workflows/api."
    )


def picture_places(graph: Graph) -> list[str]:
    """The nodes that a picture can take the place of."""
    places = [node for node, of_it in graph.items() if of_it["class_type"] in ("LoadImage", "IAA_DemoScene")]
    if not places:
        raise RefusedError("The graph has no place for a picture. Give it a LoadImage node.")
    return places


def with_picture(graph: Graph, places: Sequence[str], name: str) -> Graph:
    """The graph with a picture of the input folder at some places."""
    return graph | {node: {"class_type": "LoadImage", "inputs": {"image": name}} for node in places}


def with_inputs(graph: Graph, changes: Sequence[str], has_input: Callable[[str, str], bool]) -> Graph:
    """The graph with other values of inputs, each as ``NODE.INPUT=VALUE``; a value is JSON, or else a text.

    Raises:
        RefusedError: there is no such node, or it has no such input, which ComfyUI would pass over.
    """
    for change in changes:
        place, _, value = change.partition("=")
        node, _, name = place.partition(".")
        if node not in graph or not name:
            raise RefusedError(
                f"--set {change}: the graph has no such node. Write NODE.INPUT=VALUE; it has {', '.join(graph)}."
            )
        if name not in graph[node]["inputs"] and not has_input(kind := graph[node]["class_type"], name):
            raise RefusedError(f"--set {change}: {kind} has no input {name!r}. Look at its names in the graph.")
        graph = graph | {node: graph[node] | {"inputs": graph[node]["inputs"] | {name: _value(value)}}}
    return graph


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def pictures_of(paths: Sequence[str]) -> Iterator[Path]:
    """The files that are named, and the pictures in the folders that are; a folder without any is refused."""
    for path in map(Path, paths):
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURES)
            if not found:
                raise RefusedError(
                    f"There is no picture in {path} or below it. Endings looked for: {', '.join(sorted(PICTURES))}. "
                    "Name files with others one by one."
                )
            yield from found
        else:
            yield path


class Status:
    """The last line of a terminal: which picture it is, how far its node is, and what that writes."""

    def __init__(self, label: str) -> None:
        self._label, self._shows = label, sys.stderr.isatty()
        if not self._shows:
            print(label, file=sys.stderr)

    def __call__(self, node: str, part: float, text: str) -> None:
        """Shows it; what a terminal would obey is left out."""
        if self._shows:
            room = shutil.get_terminal_size().columns - 1
            head = f"{self._label}  {node} {part:4.0%}  "
            tail = "".join(c for c in text if c.isprintable())[-max(1, room - len(head)) :]
            print(f"\r{(head + tail)[:room]:{room}}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Empties the line."""
        if self._shows:
            print(f"\r{'':{shutil.get_terminal_size().columns - 1}}\r", end="", file=sys.stderr, flush=True)


def digest_of(graph: Graph) -> str:
    """Tells graphs apart, with all that is set in them."""
    return hashlib.sha256(json.dumps(graph, sort_keys=True).encode()).hexdigest()[:16]


def done_before(out: Path, digest: str) -> set[str]:
    """The pictures that have an answer of this very graph in a file of an earlier run.

    The file is ready for more lines then: one that was torn at its end, by a kill or a full disk, is cut off.

    Raises:
        RefusedError: another line is not of such a file; names it.
    """
    content, done = out.read_bytes() if out.exists() else b"", set()
    lines = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            answer = json.loads(line)
            if answer.get("graph") == digest and "error" not in answer:
                done.add(str(answer["image"]))
        except (ValueError, KeyError, AttributeError):
            if number < len(lines) or not BEGINNING.startswith(line[: len(BEGINNING)]):
                raise RefusedError(
                    f"{out}, line {number}: no answer of an earlier run. Mend or remove the line, or choose another "
                    "file."
                ) from None
            os.truncate(out, len(content) - len(line))
        else:
            if number == len(lines):
                with out.open("ab") as file:
                    file.write(b"\n")
    return done


def run_all(comfyui: ComfyUI, graph: Graph, pictures: Sequence[Path], out: TextIO) -> int:
    """Runs the graph for each picture and writes a line; returns how many failed."""
    failed, places, digest = 0, picture_places(graph), digest_of(graph)
    for number, picture in enumerate(pictures, 1):
        status = Status(f"{number} of {len(pictures)}: {picture}")
        line: dict[str, Any] = {"image": str(picture), "graph": digest}
        try:
            line |= comfyui.answers(comfyui.run(with_picture(graph, places, comfyui.upload(picture)), status))
        except (FailedError, OSError) as error:
            line["error"], failed = str(error), failed + 1
        finally:
            status.clear()
        if "error" in line:
            print(f"{picture}: {line['error']}", file=sys.stderr)
        print(json.dumps(line), file=out, flush=True)  # in ASCII: a name may be no text, and stdout of any encoding
    return failed


def main() -> int:
    """Returns 0 where all pictures have an answer, 1 where something failed, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", nargs="?", type=Path, help="a graph in API format")
    parser.add_argument("pictures", nargs="*", help="files and folders; without any, the graph runs once as it is")
    parser.add_argument("--set", action="append", default=[], metavar="NODE.INPUT=VALUE", help="changes the graph")
    parser.add_argument("--server", default="http://127.0.0.1:8188")
    parser.add_argument("--out", type=Path, help="appends lines here, and leaves out pictures that it has answers for")
    parser.add_argument("--job", metavar="PROMPT_ID", help="print what a run gave that something else has queued")
    options = parser.parse_args()
    comfyui = ComfyUI(options.server)
    try:
        if options.job:
            print(json.dumps(comfyui.answers(comfyui.job(options.job))))
            return 0
        if options.graph is None:
            parser.error("name a graph")
        graph = with_inputs(read_graph(options.graph), options.set, comfyui.has_input)
        if not options.pictures:
            print(json.dumps(comfyui.answers(comfyui.run(graph))))
            return 0
        done = done_before(options.out, digest_of(graph)) if options.out else set()
        pictures = [picture for picture in pictures_of(options.pictures) if str(picture) not in done]
        if done:
            print(f"{len(done)} pictures have answers of this graph in {options.out}.", file=sys.stderr)
        out = options.out.open("a", encoding="utf-8") if options.out else sys.stdout
        return int(run_all(comfyui, graph, pictures, out) > 0)
    except (RefusedError, FailedError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Cancelled. The same command with --out goes on.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
