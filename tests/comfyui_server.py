"""A real ComfyUI for tests: found on this machine, started with this checkout as its only pack, driven over its API."""

from __future__ import annotations

import io
import json
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websocket
from PIL import Image

PACK = "iaa-nodes"
START_SECONDS = 400
RUN_SECONDS = 180

Graph = dict[str, dict[str, Any]]


def find_comfyui(checkout: Path) -> Path | None:
    """ComfyUI's folder: what COMFYUI_PATH says, the one that the checkout is installed in, or comfy-cli's default.

    Raises:
        FileNotFoundError: COMFYUI_PATH names a folder without a ComfyUI.
    """
    named = os.environ.get("COMFYUI_PATH")
    if named:
        if not is_comfyui(Path(named)):
            raise FileNotFoundError(f"COMFYUI_PATH is {named}, but there is no ComfyUI (main.py, nodes.py).")
        return Path(named)
    installed_in = [checkout.parents[1]] if checkout.parent.name == "custom_nodes" else []
    return next(filter(is_comfyui, [*installed_in, Path.home() / "comfy" / "ComfyUI"]), None)


def is_comfyui(folder: Path) -> bool:
    """Whether a folder holds a ComfyUI."""
    return (folder / "main.py").is_file() and (folder / "nodes.py").is_file() and (folder / "comfy").is_dir()


def python_of(comfyui: Path) -> str:
    """The interpreter of ComfyUI's own virtual environment, else this one."""
    places = [comfyui / name / "bin" / "python" for name in (".venv", "venv")]
    return next((str(place) for place in places if place.is_file()), sys.executable)


def link_pack(checkout: Path, base: Path, name: str = PACK) -> Path:
    """Makes ``checkout`` a custom node of the base directory ``base``; returns its place."""
    (base / "custom_nodes").mkdir(parents=True, exist_ok=True)
    place = base / "custom_nodes" / name
    place.symlink_to(checkout, target_is_directory=True)
    return place


def environment() -> dict[str, str]:
    """Ours, with few threads and without what would lead ComfyUI's Python to our packages."""
    ours = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return ours | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


class PromptError(Exception):
    """ComfyUI refused a graph; ``answer`` is what it said."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(json.dumps(answer))
        self.answer = answer

    @property
    def details(self) -> list[str]:
        """What validation says, node by node."""
        return [e["details"] for node in self.answer["node_errors"].values() for e in node["errors"]]


@dataclass
class Run:
    """What became of a graph.

    Attributes:
        status: ``success``, ``error`` or ``interrupted``.
        messages: all that came over the websocket, (type, data, time) in order.
        outputs: what each node showed, by node id.
        cached: nodes whose results were remembered.
        executed: nodes that were run.
        seconds: from being queued to the last message.
    """

    prompt_id: str
    status: str = ""
    messages: list[tuple[str, dict[str, Any], float]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The data of all messages of a type."""
        return [data for name, data, _ in self.messages if name == kind]

    @property
    def cached(self) -> set[str]:
        """Nodes whose results were remembered."""
        return {node for data in self.of("execution_cached") for node in data["nodes"]}

    @property
    def executed(self) -> set[str]:
        """Nodes that were run."""
        return {data["node"] for data in self.of("executing") if data["node"]} - self.cached

    @property
    def error(self) -> str:
        """The message of the exception that ended it."""
        return "".join(data["exception_message"] for data in self.of("execution_error"))


class Client:
    """Talks to a running ComfyUI."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.client_id = uuid.uuid4().hex

    def get(self, path: str, **query: str) -> bytes:
        """The body of a GET."""
        url = f"http://{self.address}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return bytes(answer.read())

    def get_json(self, path: str) -> Any:
        """The JSON of a GET."""
        return json.loads(self.get(path))

    def post(self, path: str, content: dict[str, Any]) -> bytes:
        """The body that a POST of JSON is answered with."""
        request = urllib.request.Request(
            f"http://{self.address}{path}", json.dumps(content).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bytes(answer.read())

    def upload(self, name: str, image: Image.Image, subfolder: str = "") -> str:
        """Puts a picture into ComfyUI's input folder; returns its name there."""
        data = io.BytesIO()
        image.save(data, "PNG")
        boundary = uuid.uuid4().hex
        fields = {"subfolder": subfolder, "overwrite": "true", "type": "input"}
        parts = [f'Content-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()]
        head = f'Content-Disposition: form-data; name="image"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
        parts.append(head.encode() + data.getvalue() + b"\r\n")
        mark = f"--{boundary}".encode()
        body = b"".join(mark + b"\r\n" + part for part in parts) + mark + b"--\r\n"
        request = urllib.request.Request(
            f"http://{self.address}/upload/image",
            body,
            {"Content-Type": f"multipart/form-data; boundary={boundary}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            stored = json.loads(answer.read())
        return f"{stored['subfolder']}/{stored['name']}".removeprefix("/")

    def image(self, shown: dict[str, str]) -> Image.Image:
        """A picture that a node shows."""
        return Image.open(io.BytesIO(self.get("/view", **shown)))

    def free(self) -> None:
        """Presses "unload models" and "free memory", and waits until the worker has done both."""
        self.post("/free", {"unload_models": True, "free_memory": True})
        time.sleep(0.3)
        # Flags are looked at between prompts; a prompt of core nodes alone is behind them.
        self.run({"1": node("PrimitiveInt", value=1), "2": node("PreviewAny", source=["1", 0])})

    def interrupt(self) -> None:
        """Presses Cancel."""
        self.post("/interrupt", {})

    def run(self, graph: Graph, watch: Callable[[str, dict[str, Any]], None] | None = None) -> Run:
        """Queues a graph and waits for its end.

        Args:
            graph: in API format.
            watch: called with every message (type, data) as it comes.

        Raises:
            PromptError: ComfyUI refuses the graph, or a part of it.
        """
        listening = websocket.create_connection(
            f"ws://{self.address}/ws?clientId={self.client_id}", timeout=RUN_SECONDS
        )
        try:
            started = time.monotonic()
            run = Run(self._queue(graph))
            while not run.status:
                message = listening.recv()
                if isinstance(message, bytes):
                    run.texts += _text(message)
                    continue
                kind, data = json.loads(message)["type"], json.loads(message)["data"]
                if data.get("prompt_id") != run.prompt_id:
                    continue
                run.seconds = time.monotonic() - started
                run.messages.append((kind, data, run.seconds))
                if kind in ("execution_success", "execution_error", "execution_interrupted"):
                    run.status = kind.removeprefix("execution_")
                if watch is not None:
                    watch(kind, data)
        finally:
            listening.close()
        run.outputs = self._outputs(run.prompt_id)
        return run

    def _queue(self, graph: Graph) -> str:
        try:
            answer = json.loads(self.post("/prompt", {"prompt": graph, "client_id": self.client_id}))
        except urllib.error.HTTPError as error:
            raise PromptError(json.loads(error.read())) from None
        if answer["node_errors"]:  # outputs that fail validation are left out in silence as long as one is fine
            self.interrupt()
            raise PromptError(answer)
        return str(answer["prompt_id"])

    def _outputs(self, prompt_id: str) -> dict[str, Any]:
        for _ in range(100):  # the history is written just behind the last message
            found = self.get_json(f"/history/{prompt_id}")
            if found:
                return dict(found[prompt_id]["outputs"])
            time.sleep(0.05)
        raise TimeoutError(f"Prompt {prompt_id} did not get into the history.")


def _text(message: bytes) -> list[tuple[str, str]]:
    """(node id, text) of a binary message of live text, an event of type 3."""
    if int.from_bytes(message[:4], "big") != 3:
        return []
    length = int.from_bytes(message[4:8], "big")
    return [(message[8 : 8 + length].decode(), message[8 + length :].decode())]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    """A node of a graph in API format; ``sampling__seed`` is the input ``sampling.seed``."""
    return {"class_type": kind, "inputs": {name.replace("__", "."): value for name, value in inputs.items()}}


@dataclass
class Server:
    """A running ComfyUI."""

    client: Client
    process: subprocess.Popen[bytes]
    base: Path
    log_file: Path

    @property
    def log(self) -> str:
        """All that it has printed."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def memory(self, peak: bool = False) -> int:
        """Bytes of main memory in use, or their peak since :meth:`forget_peak` (Linux)."""
        key = "VmHWM:" if peak else "VmRSS:"
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
        raise LookupError(key)

    def forget_peak(self) -> None:
        """Starts the peak anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


@contextmanager
def running(comfyui: Path, base: Path, *arguments: str, python_path: str = "") -> Iterator[Server]:
    """Starts ComfyUI with its own folders under ``base``, and stops it at the end.

    It computes on the CPU, unless COMFYUI_GPU is set; COMFYUI_ARGUMENTS gives more arguments, such as --cache-classic.

    Raises:
        RuntimeError: it does not come up; shows the end of its log.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python_of(comfyui), "main.py", "--port", str(port), "--base-directory", str(base)]
    command += [] if os.environ.get("COMFYUI_GPU") else ["--cpu"]
    command += ["--database-url", "sqlite:///:memory:", "--disable-api-nodes", "--disable-all-custom-nodes"]
    command += ["--whitelist-custom-nodes", PACK, *arguments, *shlex.split(os.environ.get("COMFYUI_ARGUMENTS", ""))]
    log_file = base / "server.log"
    variables = environment() | ({"PYTHONPATH": python_path} if python_path else {})
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=comfyui, stdout=log, stderr=subprocess.STDOUT, env=variables)
    server = Server(Client(f"127.0.0.1:{port}"), process, base, log_file)
    try:
        _wait_until_up(server)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_up(server: Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            server.client.get("/system_stats")
            return
        except OSError:
            time.sleep(0.25)
    raise RuntimeError(f"ComfyUI did not come up (exit status {server.process.poll()}):\n{server.log[-4000:]}")


def run_inside(comfyui: Path, script: Path, *arguments: str) -> Any:
    """Runs a script in ComfyUI's Python, its folder first on the path; returns the JSON on its last line of output.

    Raises:
        RuntimeError: it fails; shows the end of what it printed.
    """
    done = subprocess.run(
        [python_of(comfyui), str(script), *arguments],
        cwd=comfyui,
        env=environment() | {"PYTHONPATH": str(comfyui)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise RuntimeError(f"{script.name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}")
    return json.loads(done.stdout.splitlines()[-1])
