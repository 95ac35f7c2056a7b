"""What the documents tell people to type is typed: against a real service, in the order in which it stands there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.blocks import blocks, marked
from tests.docs.conftest import ROOT
from tests.e2e.conftest import KEY, Installation

WRITTEN_FOR = "127.0.0.1:8443"
PICTURES = {"ann.jpg": "obama.jpg", "door.jpg": "obama2.jpg", "stranger.jpg": "biden.jpg"}
PEOPLE = {"Barack Obama": "obama.jpg", "Eileen Collins": "astronaut.png"}
STRICT = 'set -euo pipefail\ncurl() { command curl --fail-with-body "$@" && echo; }\n'
"""A refusal ends the script, which a reader would see and a test would not."""


@dataclass(frozen=True)
class Reader:
    """Somebody who follows the documents in a folder where a service runs and the pictures lie."""

    installation: Installation

    @property
    def folder(self) -> Path:
        return self.installation.folder

    def types(self, *lines: str) -> str:
        """What the lines print, typed into one shell. They must succeed."""
        return self._run(["bash", "-c", self._here(STRICT + "\n".join(lines))])

    def runs(self, program: str, code: str, suffix: str, **environment: str) -> str:
        """What a program prints that was copied into a file."""
        script = self.folder / f"copied{suffix}"
        script.write_text(self._here(code), "utf-8")
        return self._run([program, script.name], **environment)

    def _here(self, code: str) -> str:
        return code.replace(WRITTEN_FOR, self.installation.url.removeprefix("https://"))

    def _run(self, command: list[str], **environment: str) -> str:
        port = self.installation.url.rpartition(":")[2]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.installation.environment(LOOKALIKE_PORT=port)
            | {"KEY": KEY, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, portraits: dict[str, bytes]) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("reader")
    for name, portrait in PICTURES.items():
        (folder / name).write_bytes(portraits[portrait])
    for person, portrait in PEOPLE.items():
        (folder / "people" / person).mkdir(parents=True)
        (folder / "people" / person / portrait).write_bytes(portraits[portrait])
    command = folder / ".venv" / "bin" / "lookalike"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m api.cli "$@"\n')
    command.chmod(0o755)
    installation = Installation(folder)
    with installation.start():
        yield Reader(installation)
    installation.stop()


def candidates(printed: str) -> list[list[str]]:
    """Whom each identification among lines of JSON named, face by face."""
    answers = [json.loads(line) for line in printed.splitlines() if line.startswith('{"faces"')]
    return [[one["subject"] for face in answer["faces"] for one in face["candidates"]] for answer in answers]


def test_the_readme_s_first_five_minutes(reader: Reader) -> None:
    by_curl, by_command = marked(ROOT / "README.md")

    assert candidates(reader.types(by_curl)) == [["ann"]]
    assert "Barack Obama" in reader.types(by_command)
    assert (reader.folder / "seen.png").is_file()


def test_the_five_minutes_of_the_start_page(reader: Reader) -> None:
    by_curl, by_command = marked(ROOT / "docs" / "start.md")

    assert candidates(reader.types(by_curl)) == [["ann"], []]
    printed = reader.types(by_command)
    assert "Barack Obama" in printed
    assert "signature" in printed


@pytest.mark.parametrize(
    ("guide", "says"),
    [("operator", "Barack Obama"), ("integrator", "ann"), ("privacy-officer", "signature")],
)
def test_what_a_guide_has_people_type(reader: Reader, guide: str, says: str) -> None:
    # One shell for all of a guide's blocks, as one terminal is used.
    printed = reader.types(*marked(ROOT / "docs" / "guides" / f"{guide}.md"))

    assert says in printed


def test_the_recipe_for_curl(reader: Reader) -> None:
    (recipe,) = marked(ROOT / "docs" / "clients.md")

    printed = reader.types(recipe, "echo again", recipe.replace("lk $api/collections --json", "true"))

    first, again = (part.splitlines() for part in printed.split("again\n"))
    enrolled = [[line for line in part if line.startswith('{"subject"')] for part in (first, again)]
    assert candidates(printed) == [["ann"], ["ann"]]
    assert len(enrolled[0]) == 1
    assert enrolled[0] == enrolled[1], "the same Idempotency-Key gives the first answer again"


def test_the_recipe_for_javascript(reader: Reader) -> None:
    node = shutil.which("node")
    if node is None or int(subprocess.check_output([node, "--version"], text=True)[1:].split(".")[0]) < 20:
        pytest.skip("left out: there is no node of version 20 or newer")
    (recipe,) = marked(ROOT / "docs" / "clients.md", "javascript")

    printed = reader.runs(node, recipe, ".mjs", NODE_EXTRA_CA_CERTS="data/tls/ca.crt")

    assert printed.startswith("Ann Example, 0.")
    assert printed.endswith("\nAnn Example\ncollection_not_found 404\n")


def test_the_recipe_for_python(reader: Reader) -> None:
    (recipe,) = marked(ROOT / "docs" / "clients.md", "python")

    printed = reader.runs(sys.executable, recipe, ".py")

    assert printed == "['Ann Example']\n['Ann Example']\ncollection_not_found 404\n"


def test_the_form_that_dotnet_sends_is_understood(reader: Reader) -> None:
    # HttpClient leaves names unquoted and adds filename*, which no other client here does.
    head = "--x\r\nContent-Disposition: form-data; name=image; filename=picture; filename*=utf-8''picture\r\n\r\n"
    body = head.encode() + (reader.folder / "door.jpg").read_bytes() + b"\r\n--x--\r\n"
    (reader.folder / "form").write_bytes(body)

    printed = reader.types(
        'curl --silent --cacert data/tls/ca.crt --header "x-api-key: $KEY" --data-binary @form '
        "--header 'content-type: multipart/form-data; boundary=\"x\"' https://127.0.0.1:8443/v1/detect"
    )

    assert json.loads(printed)["faces"]


def test_a_block_that_is_run_and_one_that_is_not_are_told_apart(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("x\n<!-- run -->\n```\none\n```\n```javascript\ntwo\n```\n")

    assert [(each.language, each.code, each.marked) for each in blocks(document)] == [
        ("", "one\n", True),
        ("javascript", "two\n", False),
    ]
