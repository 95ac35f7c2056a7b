"""Fuzzes one reader with atheris, guided by what the code of ours does: finds what nobody thought of.

    python -m tests.fuzz.fuzz TARGET [--runs 1000] [--seconds 60] [--seed 1] [--corpus FOLDER]

The corpus is kept in FOLDER/TARGET, and a later run goes on from it; by default it is fuzz-corpus/, which is not
committed. What is found lies there too, as crash-*, and ends the run with exit code 77. Without a target their names
are printed. A target that decodes pictures or opens networks runs native code in this process: that may end it, and
the file that did is kept by libFuzzer.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import atheris

from tests.fuzz.guides import CODE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="?")
    parser.add_argument("--runs", type=int, default=-1)
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, default=Path("fuzz-corpus"))
    asked = parser.parse_args()
    if asked.target is None:
        print("\n".join(CODE))
        return
    if asked.target not in CODE:
        parser.error(f"one of {', '.join(CODE)} is allowed")
    with atheris.instrument_imports(include=CODE[asked.target]):
        from tests.fuzz.targets import TARGETS
    target, folder = TARGETS[asked.target], asked.corpus / asked.target
    folder.mkdir(parents=True, exist_ok=True)
    for sample in target.seeds():
        (folder / hashlib.sha256(sample).hexdigest()[:16]).write_bytes(sample)
    limits = [f"-runs={asked.runs}", f"-max_total_time={asked.seconds}", f"-seed={asked.seed}"]
    bounds = ["-rss_limit_mb=4096", "-timeout=30", "-max_len=65536", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, *bounds, f"-artifact_prefix={folder}/", str(folder)], target.read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
