"""The catalogue of words: complete, without leftovers, chosen by what a browser asks for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.console import texts
from api.console.texts import choose, read_catalogues
from api.errors import FAULTS
from embedder.quality import REASONS
from lookalike.errors import FaceNotFound, ImageTooLarge, ImageTooSmall, UnsupportedImage
from security.rbac import ROLES

FOLDER = Path(texts.__file__).parent
SOURCES = [*FOLDER.rglob("*.html"), *FOLDER.glob("*.py")]
NAMED = re.compile(r"""\b(?:t|words)\(\s*f?["']([a-z_.]+)["']\s*[,)]""")
MADE = re.compile(r"""\b(?:t|words)(?:\.known)?\(\s*f?["']([a-z_.]+\.)(?:["']\s*~|\{)|"([a-z_.]+\.r?)" ~""")


def english() -> dict[str, str]:
    return dict(read_catalogues()["en"].entries)


def stem(name: str) -> str:
    return re.sub(r"\.(one|other)$", "", name)


def test_every_text_that_a_page_names_is_in_the_catalogue():
    there = {stem(name) for name in english()}
    named = {name for source in SOURCES for name in NAMED.findall(source.read_text())}
    assert len(named) > 150
    assert named - there == set()


def test_no_text_is_left_over():
    named = {name for source in SOURCES for name in NAMED.findall(source.read_text())}
    made = {first or second for source in SOURCES for first, second in MADE.findall(source.read_text())}
    left = [name for name in english() if stem(name) not in named and not name.startswith(tuple(made))]
    assert left == []


def test_a_text_that_depends_on_a_number_has_both_forms():
    names = set(english())
    for name in names:
        if name.endswith(".one"):
            assert f"{stem(name)}.other" in names
    words = read_catalogues()["en"]
    assert words("subject.samples", n=1) == "1 sample"
    assert words("subject.samples", n=0) == "0 samples"


def test_reasons_roles_and_errors_are_said_in_words():
    names = english()
    refusals = (UnsupportedImage, ImageTooLarge, ImageTooSmall, FaceNotFound)
    assert all(f"reasons.{refusal.code}" in names for refusal in refusals)
    assert all(f"reasons.{reason}" in names and f"hints.{reason}" in names for reason in REASONS)
    assert all(f"roles.{role}.name" in names for role in ROLES)
    assert {name.removeprefix("errors.") for name in names if name.startswith("errors.")} - {"home", "id"} <= set(
        FAULTS
    )


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT, en;q=0.5", "de"),
        ("fr, de;q=0.8, en;q=0.9", "en"),
        ("pt-BR", "pt-br"),
        ("pt", "en"),
        ("de;q=0", "en"),
        (";;q=x,,", "en"),
    ],
)
def test_the_language_is_what_the_browser_asks_for_and_english_otherwise(tmp_path: Path, accepted: str, language: str):
    (tmp_path / "en.toml").write_text('[nav]\njobs = "Jobs"\nkeys = "Keys"\n')
    (tmp_path / "de.toml").write_text('[nav]\njobs = "Aufträge"\n')
    (tmp_path / "pt-br.toml").write_text('[nav]\njobs = "Tarefas"\n')
    assert choose(accepted, read_catalogues(tmp_path)).language == language


def test_what_a_language_lacks_is_said_in_english(tmp_path: Path):
    (tmp_path / "en.toml").write_text('[nav]\njobs = "Jobs"\nkeys = "Keys"\n')
    (tmp_path / "de.toml").write_text('[nav]\njobs = "Aufträge"\n')
    words = choose("de", read_catalogues(tmp_path))
    assert (words("nav.jobs"), words("nav.keys")) == ("Aufträge", "Keys")
