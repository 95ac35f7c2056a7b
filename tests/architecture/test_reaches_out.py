"""Product code runs nothing that came as data, starts no program, and reaches the network from named modules alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("lookalike", "embedder", "index", "security", "api")
FILES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8"))
    for folder in PACKAGES
    for path in sorted((ROOT / folder).rglob("*.py"))
}

FETCHERS = {
    *("httpx", "requests", "aiohttp", "urllib3", "http.client", "urllib.request", "ftplib", "smtplib", "imaplib"),
    *("xmlrpc", "telnetlib", "websockets", "paho", "socket", "socketserver", "asyncio.streams", "elasticsearch"),
    *("elastic_transport", "psycopg", "psycopg_pool", "pycurl", "grpc", "boto3", "huggingface_hub"),
}
MAY_REACH = {
    "api/client.py": "the client speaks to the service that LOOKALIKE_URL names",
    "api/client_sending.py": "the same",
    "api/in_process.py": "httpx's transport to the application in this process: no socket",
    "api/server.py": "listens",
    "api/audit_receivers.py": "checkpoints go where LOOKALIKE_AUDIT_PUSH says",
    "api/audit_keeper.py": "catches what those receivers raise",
    "api/commands/doctor.py": "looks whether the port is free, and at the certificate shown there",
    "api/webhook_calls.py": "events go to hosts that LOOKALIKE_WEBHOOK_HOSTS lists",
    "api/traces.py": "spans go where LOOKALIKE_TRACES_URL says",
    "embedder/video.py": "the camera that `lookalike watch` is given",
    "index/elastic_tls.py": "how the cluster that LOOKALIKE_INDEX names is spoken to",
    "security/issuer_http.py": "the identity provider that LOOKALIKE_OIDC_ISSUER names",
    "security/root_vault.py": "the root key's Vault, as LOOKALIKE_KEYS names it",
    "embedder/decoder_process.py": "a socket pair between processes of ours",
    "embedder/decoder_nursery.py": "the same",
    "index/elastic_bulk.py": "the cluster that LOOKALIKE_INDEX names",
    "index/elastic_cluster.py": "the same",
    "index/elastic_index.py": "the same",
    "index/elastic_servers.py": "the same",
    "index/postgres_connection.py": "the database that LOOKALIKE_RECORDS names",
    "index/postgres_reader.py": "the same",
    "index/postgres_rows.py": "the same",
    "index/postgres_sessions.py": "the same",
    "index/postgres_transactions.py": "the same",
}
"""Where each goes by an operator's setting: no request, picture, row or model names an address."""

MAY_START = {
    "api/demo.py": "the demo starts the service",
    "embedder/train/export.py": "asks git for the revision that a model is made with",
    "embedder/decoder_nursery.py": "starts the nursery, our own module",
}

RUNS_DATA = {
    *("eval", "exec", "compile", "__import__"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.hub.load", "torch.jit.load", "torch.package"),
    *("joblib.load", "pandas.read_pickle", "runpy.run_path", "runpy.run_module", "code.interact"),
    *("onnx.load", "onnx.load_model", "onnx.load_external_data_for_model", "importlib.import_module"),
    *("os.system", "os.popen", "ctypes.CDLL", "tarfile.open", "shutil.unpack_archive", "tempfile.mktemp"),
}
MAY_RUN = {
    ("api/onprem.py", "ctypes.CDLL"): "the C library of this process: core dumps off",
    ("embedder/sandbox.py", "ctypes.CDLL"): "the same: prctl",
    ("index/heap.py", "ctypes.CDLL"): "the same: malloc_trim",
    ("api/demo_pictures.py", "tarfile.open"): "reads members of an archive that is pinned by hash, and unpacks nothing",
}
MAY_PARSE_XML = {
    "embedder/curate/box_files.py": "boxes of one's own training pictures; expat limits what entities swell to"
}
PARSES_XML = {"xml", "lxml", "defusedxml", "html5lib", "plistlib"}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        if isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield ast.unparse(node.func)


def is_of(name: str, modules: set[str]) -> bool:
    return any(name == module or name.startswith(module + ".") for module in modules)


def reaches(tree: ast.AST) -> bool:
    return any(is_of(name, FETCHERS) for name in imports(tree))


def starts(tree: ast.AST) -> bool:
    named = any(is_of(name, {"subprocess", "multiprocessing", "pty"}) for name in imports(tree))
    return named or any(name.startswith(("os.exec", "os.spawn", "os.posix_spawn")) for name in calls(tree))


def runs(tree: ast.AST) -> set[str]:
    brought_in = {name for name in imports(tree) if name in RUNS_DATA}
    return brought_in | {name for name in calls(tree) if name in RUNS_DATA}


def test_the_network_is_reached_from_the_modules_that_are_named_and_no_other() -> None:
    assert {name for name, tree in FILES.items() if reaches(tree)} == set(MAY_REACH)


def test_programs_are_started_by_the_modules_that_are_named_and_no_other() -> None:
    assert {name for name, tree in FILES.items() if starts(tree)} == set(MAY_START)


def test_nothing_that_came_as_data_is_run_and_no_model_is_opened_by_its_path() -> None:
    found = {(name, call) for name, tree in FILES.items() for call in runs(tree)}
    assert found == set(MAY_RUN)


def test_no_xml_is_parsed_that_a_request_could_bring() -> None:
    found = {name for name, tree in FILES.items() if any(is_of(each, PARSES_XML) for each in imports(tree))}
    assert found == set(MAY_PARSE_XML)


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (reaches, "import httpx"),
        (reaches, "from urllib import request"),
        (reaches, "from http.client import HTTPSConnection"),
        (reaches, "def f():\n    import socket"),
        (starts, "import subprocess"),
        (starts, "import os\nos.execv('/bin/sh', [])"),
        (runs, "eval('1')"),
        (runs, "import yaml\nyaml.load(text)"),
        (runs, "from onnx import load_model"),
        (runs, "onnx.load('model.onnx')"),
        (runs, "importlib.import_module(name)"),
    ],
)
def test_the_checks_find_what_they_look_for(check, source: str) -> None:
    assert check(ast.parse(source))
