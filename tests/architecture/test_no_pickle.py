"""Nothing of ours reads or writes a pickle, and nothing that could hide one is opened without saying so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FILES = sorted(
    p for folder in ("lookalike", "embedder", "index", "security", "api") for p in (ROOT / folder).rglob("*.py")
)
PICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def complaints(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"imports {name.name}" for name in node.names if name.name.split(".")[0] in PICKLERS)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PICKLERS:
            yield f"imports {node.module}"
        if isinstance(node, ast.ImportFrom) and node.module in ("torch", "numpy"):
            yield from (
                f"imports {name.name} out of its module" for name in node.names if name.name in ("load", "save")
            )
        if isinstance(node, ast.Import):
            yield from (f"calls torch {name.asname}" for name in node.names if name.name == "torch" and name.asname)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "__import__":
            yield "imports by __import__"
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        ):
            called = f"{node.func.value.id}.{node.func.attr}"
            given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            if called == "torch.load" and given.get("weights_only") is not True:
                yield "calls torch.load without weights_only=True"
            if called in ("np.load", "numpy.load") and given.get("allow_pickle") not in (None, False):
                yield "calls np.load with allow_pickle"
            if called == "torch.save":
                yield "calls torch.save, which pickles"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_pickles(path: Path) -> None:
    assert list(complaints(ast.parse(path.read_text("utf-8")))) == []


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from joblib import load", "torch.load(f)", "torch.load(f, weights_only=False)",
     "np.load(f, allow_pickle=True)", "torch.save(x, f)", "from torch import load", "import torch as t",
     "__import__('pickle')"],
)  # fmt: skip
def test_the_check_finds_what_it_looks_for(source: str) -> None:
    assert list(complaints(ast.parse(source)))
