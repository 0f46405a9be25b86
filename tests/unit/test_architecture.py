"""Who imports whom in iaa_runtime, and the habits that its source keeps.

The rules are functions from source text to a list of complaints, so each is shown, on a few lines that break it, to be
able to fail.
"""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGE = "iaa_runtime"
ROOT = Path(__file__).parents[2]

# Folders, lowest first. A module imports from its own folder and from lines above; of one line, only those that are
# joined by a plus know each other.
ORDER = """
errors
config
images + boxes + text
shapes
checkpoint
model
adaptors
generation
pipeline
jobs
annotate  evaluation  export
teaching
bench
cli
__main__
"""
OUTSIDE = {
    "images": "torch numpy PIL",
    "boxes": "torch numpy PIL scipy",
    "text": "transformers llguidance",
    "shapes": "torch numpy PIL",
    "checkpoint": "torch safetensors huggingface_hub tqdm",
    "model": "torch comfy_kitchen",
    "adaptors": "torch",
    "generation": "torch",
    "pipeline": "torch numpy PIL typing_extensions",
    "jobs": "torch accelerate",
    "annotate": "torch PIL pyarrow webdataset",
    "evaluation": "numpy PIL",
    "export": "torch numpy gguf",
    "teaching": "torch numpy PIL",
    "bench": "torch numpy transformers vllm llama_cpp PIL",
    "cli": "torch PIL argcomplete",
}
"""What each folder imports from outside: errors, config and the package itself nothing."""
LINES = [set(line.replace("+", " ").split()) for line in ORDER.strip().splitlines()]
JOINED = [set(line.split()) - {"+"} for line in ORDER.strip().splitlines() if "+" in line]
LOOKED_UP_WHEN_USED = {"", "cli"}  # these import what they hand out, or a command, by a name that they compute
HOST = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "execution", "folder_paths", "nodes", "server"}
NODE_API = {"comfy_api", "comfy_execution"}
"""What ComfyUI has for nodes: any of ours may import it."""
BESIDE_NODE_API = {
    "host": "comfy folder_paths",
    "adaptor_files": "folder_paths",
    "room": "comfy",
    "quantized": "comfy",
    "progress": "comfy server",
    "help": "server",
}
"""Which of our nodes' modules import what else of ComfyUI."""


def may_import(folder: str, other: str) -> bool:
    """Whether modules of one folder may import from another."""
    if folder == other or any({folder, other} <= joined for joined in JOINED):
        return True
    height = {name: number for number, line in enumerate(LINES) for name in line}
    if folder == "":  # the package itself hands out names of the pipeline and of what is below it
        return height[other] <= height["pipeline"]
    return height.get(other, height["pipeline"]) < height[folder]


def sources() -> dict[str, str]:
    """Name without the package -> source text, of every module; a package is named like its folder."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path.read_text(encoding="utf-8")
    return found


def imports(module: str, source: str, known: set[str]) -> Iterator[str]:
    """Full names of what a module imports, at any depth, for type checking or by literal name included."""
    is_package = any(name.startswith(f"{module}.") for name in known) or not module
    here = [PACKAGE, *(module.split(".") if module else [])]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + is_package] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                member = f"{origin}.{alias.name}"
                yield member if member.removeprefix(f"{PACKAGE}.") in known else origin
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            name = node.args[0]
            yield name.value if isinstance(name, ast.Constant) else f"({ast.unparse(name)})"


def inner(name: str) -> str | None:
    """The part of a full name below the package, or None for what is imported from outside."""
    return name[len(PACKAGE) + 1 :] if name == PACKAGE or name.startswith(f"{PACKAGE}.") else None


def check_imports(module: str, source: str, known: set[str]) -> Iterator[str]:
    """Complains of a folder that has no place, of arrows against the order, of hosts and of packages from outside."""
    own = module.partition(".")[0]
    if own and not any(own in line for line in LINES):
        yield f"{own} has no place: add it to ORDER, as far up as it can stand"
        return
    for name in imports(module, source, known):
        target = inner(name)
        top = name.partition(".")[0]
        if target is not None:
            if not may_import(own, target.partition(".")[0]):
                yield f"{module} imports {name}, against the order"
        elif top in HOST:
            yield f"{module} imports {name}: the runtime knows no ComfyUI"
        elif name.startswith("("):
            if module not in LOOKED_UP_WHEN_USED:
                yield f"{module} imports a module whose name is computed: {name}"
        elif top not in sys.stdlib_module_names and top not in OUTSIDE.get(own, "").split():
            yield f"{module} imports {top}, which {own or 'the package'} does without"


def check_touches(module: str, source: str) -> Iterator[str]:
    """Complains of a module of ``nodes`` that imports of ComfyUI what is another's business."""
    for name in imports(module, source, set()):
        top = name.partition(".")[0]
        if top in HOST - NODE_API and top not in BESIDE_NODE_API.get(module, "").split():
            yield f"nodes.{module} imports {name}: have nodes.host do it"


def check_transformers(source: str) -> Iterator[str]:
    """Complains of anything of transformers but tokenizers: its models and caches change with every release."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any(alias.name.startswith("transformers") for alias in node.names):
            yield f"line {node.lineno}: import names from transformers, so that one sees which"
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("transformers"):
            yield from (f"{alias.name} of transformers" for alias in node.names if "Tokenizer" not in alias.name)


def check_docstrings(source: str) -> Iterator[str]:
    """Complains of public classes, functions and methods (not dunder ones, not overloads) that say nothing."""

    def visit(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            if isinstance(node, (ast.If, ast.Try)):
                yield from visit(node.body, prefix)
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) or node.name[0] == "_":
                continue
            if ast.get_docstring(node) is None and "overload" not in map(ast.unparse, node.decorator_list):
                yield f"{prefix}{node.name} has no docstring"
            # A protocol's members are declarations; what they mean stands in the protocol's own docstring.
            if isinstance(node, ast.ClassDef) and "Protocol" not in map(ast.unparse, node.bases):
                yield from visit(node.body, f"{node.name}.")

    tree = ast.parse(source)
    if source.strip() and ast.get_docstring(tree) is None:
        yield "the module has no docstring"
    yield from visit(tree.body, "")


def check_safety(source: str) -> Iterator[str]:
    """Complains of what runs the code of a file that was only to be read, and of excepts that swallow a cancel."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"line {node.lineno}: bare except"
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            if {name.partition(".")[0] for name in names} & {"pickle", "dill", "cloudpickle", "marshal"}:
                yield f"line {node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Call):
            called, keywords = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            if called in {"eval", "exec", "compile", "__import__"}:
                yield f"line {node.lineno}: {called}()"
            if "trust_remote_code" in keywords:
                yield f"line {node.lineno}: trust_remote_code"
            if called == "torch.load" and keywords.get("weights_only") != "True":
                yield f"line {node.lineno}: torch.load without weights_only=True"
            if called == "Image.open" and "formats" not in keywords:
                yield f"line {node.lineno}: Image.open without formats, which may start other programs"


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one import cycle, or nothing."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


SOURCES = sources()
RULES: dict[str, Callable[[str], Iterator[str]]] = {
    "transformers": check_transformers,
    "docstrings": check_docstrings,
    "safety": check_safety,
}


@pytest.mark.parametrize("module", SOURCES, ids=lambda module: module or PACKAGE)
def test_imports_run_one_way(module: str) -> None:
    assert list(check_imports(module, SOURCES[module], set(SOURCES))) == []


def test_a_folder_says_what_lives_there() -> None:
    folders = {path.name for path in (ROOT / PACKAGE).iterdir() if (path / "__init__.py").is_file()}
    assert folders == set().union(*LINES) - {"errors", "__main__"}
    loose = [path.name for path in (ROOT / PACKAGE).iterdir() if path.is_file()]
    assert sorted(loose) == ["__init__.py", "__main__.py", "errors.py", "py.typed"]


def test_the_map_names_a_file_to_begin_with_in_every_folder() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## What lives where")[2]
    rows = re.findall(r"^\| `([\w.]+)` \| .+ \| (?:`(\w+\.py)`|itself) \|$", page, re.MULTILINE)
    folders = [name.removesuffix(".py") for name, _ in rows]
    assert folders == [name for name in re.findall(r"\w+", ORDER) if name != "__main__"]
    assert [name for name, first in rows if not (ROOT / PACKAGE / name / first).is_file()] == []


def test_no_module_imports_itself_in_a_circle() -> None:
    inside = {m: {inner(n) for n in imports(m, s, set(SOURCES))} for m, s in SOURCES.items() if m}
    assert cycle({module: {name for name in names if name} for module, names in inside.items()}) == []


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("module", SOURCES, ids=lambda module: module or PACKAGE)
def test_source_keeps_the_habits(module: str, rule: str) -> None:
    if (module, rule) == ("bench.peers", "transformers"):
        return  # what it times is transformers' own model
    assert list(RULES[rule](SOURCES[module])) == []


@pytest.mark.parametrize("path", sorted((ROOT / "nodes").glob("*.py")), ids=lambda path: path.stem)
def test_nodes_leave_comfyui_to_few(path: Path) -> None:
    assert list(check_touches(path.stem, path.read_text(encoding="utf-8"))) == []


def test_importing_the_package_is_light() -> None:
    heavy = "{'torch', 'transformers', 'numpy', 'PIL', 'safetensors'}"
    code = f"import sys, {PACKAGE}; print(sorted({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout == "[]\n"


def test_versions_agree() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    assert f'__version__ = "{version[1]}"' in SOURCES[""]
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


KNOWN = {
    "",
    "errors",
    "config",
    "boxes.answers",
    "images",
    "checkpoint",
    "model",
    "model.stack",
    "pipeline.model",
    "cli",
}


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("errors", "from .config import Task", "errors imports iaa_runtime.config, against the order"),
        ("images.draw", "from ..model.stack import Stack", "imports iaa_runtime.model.stack, against the order"),
        ("boxes.answers", "import transformers", "imports transformers, which boxes does without"),
        ("checkpoint.files", "def f():\n from ..model import stack", "imports iaa_runtime.model.stack, against"),
        ("annotate.coco", "from ..evaluation import mme", "imports iaa_runtime.evaluation, against the order"),
        (
            "model.stack",
            "if TYPE_CHECKING:\n from ..pipeline.model import IAAModel",
            "iaa_runtime.pipeline.model, against",
        ),
        ("model.stack", "import iaa_runtime.pipeline.model", "imports iaa_runtime.pipeline.model, against the order"),
        ("pipeline.model", "importlib.import_module('iaa_runtime.cli')", "imports iaa_runtime.cli, against the order"),
        ("pipeline.model", "import_module(name)", "name is computed: (name)"),
        ("pipeline.model", "from iaa_runtime import IAAModel", "imports iaa_runtime, against the order"),
        ("pipeline.model", "import comfy.model_management", "the runtime knows no ComfyUI"),
        ("cli.info", "from nodes import NODE_CLASS_MAPPINGS", "the runtime knows no ComfyUI"),
        ("surprise.party", "", "surprise has no place"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str, complaint: str) -> None:
    found = list(check_imports(module, source, KNOWN))
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize(
    ("module", "source", "complaints"),
    [
        ("loader", "import comfy.model_management as memory", 1),
        ("previews", "def f():\n import folder_paths", 1),
        ("adaptor_files", "import folder_paths\nimport comfy.utils", 1),
        ("loader", "from comfy_api.latest import io\nfrom . import host\nfrom .host import memory", 0),
        ("host", "import comfy.ops\nimport folder_paths", 0),
    ],
)
def test_a_node_that_touches_comfyui_is_found(module: str, source: str, complaints: int) -> None:
    assert len(list(check_touches(module, source))) == complaints


def test_a_right_import_is_let_through() -> None:
    source = "import json\nimport torch\nfrom .. import errors\nfrom ..model import stack\nfrom ..config import Task"
    assert list(check_imports("generation.loop", source, KNOWN)) == []
    assert list(check_imports("boxes.answers", "from ..images import load\nimport numpy", KNOWN)) == []


def test_a_circle_is_found() -> None:
    assert set(cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("rule", "source", "complaints"),
    [
        ("transformers", "import transformers", 1),
        ("transformers", "from transformers import AutoTokenizer, LlamaForCausalLM", 1),
        ("transformers", "from transformers.cache_utils import DynamicCache", 1),
        ("transformers", "from transformers import AutoTokenizer", 0),
        ("docstrings", "def f(): ...", 2),
        ("docstrings", "'''M.'''\nclass C:\n def f(self): ...\n def _g(self): ...\n def __len__(self): ...", 2),
        ("docstrings", "'''M.'''\nif True:\n async def f(): ...", 1),
        ("docstrings", "'''M.'''\nclass C(Protocol):\n '''D.'''\n def f(self): ...", 0),
        ("docstrings", "'''M.'''\ndef _f():\n def g(): ...", 0),
        ("safety", "try: f()\nexcept: pass", 1),
        ("safety", "import pickle as p", 1),
        ("safety", "from pickle import loads", 1),
        ("safety", "eval('1')", 1),
        ("safety", "exec('1')", 1),
        ("safety", "model.eval()", 0),
        ("safety", "AutoTokenizer.from_pretrained(p, trust_remote_code=flag)", 1),
        ("safety", "torch.load(f)", 1),
        ("safety", "torch.load(f, weights_only=False)", 1),
        ("safety", "torch.load(f, weights_only=True)", 0),
        ("safety", "Image.open(f)", 1),
        ("safety", "Image.open(f, formats=FORMATS)", 0),
    ],
)
def test_a_broken_habit_is_found(rule: str, source: str, complaints: int) -> None:
    assert len(list(RULES[rule](source))) == complaints
