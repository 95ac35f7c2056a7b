"""Runs a script that says what it has done, a line for each, and kills it with -9."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def said_until_killed(script: str, *arguments: object, enough: int, after_s: float | None = None) -> list[str]:
    """The whole lines that it said, until it was killed so long after the `enough`-th; some moment later by default."""
    wait_s = random.uniform(0, 0.02) if after_s is None else after_s
    command = [sys.executable, "-c", script, *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        if not line.endswith("\n"):
            break  # it was killed while it said this
        said.append(line.strip())
        if len(said) == enough:
            threading.Timer(wait_s, os.kill, (process.pid, signal.SIGKILL)).start()
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    return said
