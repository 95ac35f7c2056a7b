"""No module of ours reads a format that runs code: pickles and what is made of them, by any of their names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("api", "embedder", "index", "lookalike", "security", "benchmarks")
RUN_CODE = {
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
    "pandas",
}
READERS = {
    ("torch", "load"): ("weights_only", True),
    ("np", "load"): ("allow_pickle", False),
    ("numpy", "load"): ("allow_pickle", False),
}
"""Calls that read pickles unless an argument says no, and what it must say."""


def findings(source: str) -> Iterator[str]:
    """What in this source could run code from a file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = []
        yield from (f"line {node.lineno}: imports {name}" for name in names if name.split(".")[0] in RUN_CODE)
        yield from (f"line {node.lineno}: imports {name}" for name in names if name in ("torch.load", "numpy.load"))
        if isinstance(node, ast.Call):
            yield from _of_call(node)


def _of_call(call: ast.Call) -> Iterator[str]:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
        wanted = READERS.get((call.func.value.id, call.func.attr))
        if wanted is not None:
            name, value = wanted
            said = given.get(name)
            safe = isinstance(said, ast.Constant) and said.value is value
            if not safe and not (name == "allow_pickle" and said is None):  # numpy's own default is False
                yield f"line {call.lineno}: {call.func.value.id}.{call.func.attr} without {name}={value}"
    if "allow_pickle" in given and not (
        isinstance(given["allow_pickle"], ast.Constant) and given["allow_pickle"].value is False
    ):
        yield f"line {call.lineno}: allow_pickle"


def test_no_module_of_ours_reads_pickles():
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 100
    found = [f"{path.relative_to(ROOT)}: {what}" for path in files for what in findings(path.read_text("utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, marshal",
        "from joblib import load",
        "def f():\n    import shelve",
        "import cloudpickle as c",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=sure)",
        "from torch import load",
        "np.load(path, allow_pickle=True)",
        "numpy.load(path, allow_pickle=yes)",
        "numpy.lib.format.read_array(file, allow_pickle=True)",
    ],
)
def test_each_way_to_read_one_is_found(source):
    assert list(findings(source))


@pytest.mark.parametrize("source", ["torch.load(path, weights_only=True)", "np.load(path)", "import json"])
def test_what_is_safe_is_not_complained_of(source):
    assert not list(findings(source))
