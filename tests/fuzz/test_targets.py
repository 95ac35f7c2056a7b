"""Each reader of what others send takes its sound samples and refuses changed ones, by errors of ours alone.

The same few hundred each time; `make fuzz` and tests/fuzz/pictures.py go on for as long as one likes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fuzz.guides import CODE
from tests.fuzz.mutants import mutant
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = int(os.environ.get("LOOKALIKE_TEST_MUTANTS", "200"))


@pytest.mark.parametrize("name", TARGETS)
def test_a_changed_sample_is_read_or_refused_and_nothing_else_happens(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    for sample in seeds:
        target.read(sample)
    for number in range(MUTANTS):
        target.read(mutant(seeds, number, seed=6))


def test_mutants_are_the_same_for_the_same_seed_and_differ_from_their_samples() -> None:
    seeds = [bytes(range(200)), b"another sample"]
    first = [mutant(seeds, number, 1) for number in range(100)]
    assert first == [mutant(seeds, number, 1) for number in range(100)]
    assert first != [mutant(seeds, number, 2) for number in range(100)]
    assert sum(each not in seeds for each in first) > 90


def test_every_target_can_be_run_guided_and_names_code_that_there_is() -> None:
    assert list(CODE) == list(TARGETS)
    assert all(find_spec(module) is not None for modules in CODE.values() for module in modules)


def test_a_guided_run_keeps_its_corpus_and_ends_well(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz.fuzz", "json", "--runs", "300", "--corpus", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    kept = list((tmp_path / "json").iterdir())
    assert len(kept) >= 3
    assert not [file for file in kept if file.name.startswith(("crash", "oom", "timeout"))]
