"""A confined process can compute and answer, and nothing else that was tried."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from embedder.decoders import can_isolate
from embedder.sandbox import SYSCALLS, filter_program

pytestmark = pytest.mark.skipif(not can_isolate(), reason="left out: this system has no such processes")

ROOT = Path(__file__).resolve().parents[2]
ATTEMPTS = """
import ctypes, json, os, resource, signal, socket, subprocess, sys, threading
from embedder.sandbox import Bounds, confine
a, b = socket.socketpair()
tried = {
    "open a file": lambda: open("/etc/hostname"),
    "make a file": lambda: open("/tmp/x", "w"),
    "list a folder": lambda: os.listdir("/"),
    "a socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "a pair of sockets": lambda: socket.socketpair(),
    "a fork": lambda: os.fork(),
    "a program": lambda: os.execv("/bin/true", ["true"]),
    "a thread": lambda: threading.Thread(target=print).start(),
    "a signal to the parent": lambda: os.kill(os.getppid(), 0),
    "another's limits": lambda: resource.prlimit(os.getppid(), 7),
    "more memory": lambda: bytearray(2_000_000_000),
    "another user": lambda: os.setuid(1),
    "shared memory": lambda: os.memfd_create("x"),
    "a second name for a descriptor": lambda: os.dup(a.fileno()),
    "other code": lambda: ctypes.CDLL("libz.so.1"),
    "to see others' memory": lambda: os.pread(0, 1, 0),
}
filtered = confine(Bounds(1_500_000_000, 60))
found = {}
for name, attempt in tried.items():
    try:
        attempt()
        found[name] = "done"
    except (OSError, RuntimeError, MemoryError) as error:
        found[name] = "refused"
a.send(b"still here")
found["its own socket"] = b.recv(20).decode()
os.write(1, json.dumps({"filtered": filtered, "found": found}).encode())
os._exit(0)
"""


def test_nothing_but_computing_and_its_own_socket_is_left() -> None:
    done = subprocess.run([sys.executable, "-c", ATTEMPTS], capture_output=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    assert told["filtered"] is True
    assert told["found"].pop("its own socket") == "still here"
    assert set(told["found"].values()) == {"refused"}, told["found"]


def test_a_call_by_another_machines_numbers_ends_the_process() -> None:
    program = filter_program(0xC000003E, [0, 1])
    assert len(program) % 8 == 0
    load, compare, kill = program[:8], program[8:16], program[16:24]
    assert load == bytes.fromhex("2000000004000000")  # the word at 4 is the machine
    assert compare == bytes.fromhex("150001003e0000c0")  # skips one where it is ours
    assert kill == bytes.fromhex("0600000000000080")  # SECCOMP_RET_KILL_PROCESS


@pytest.mark.parametrize("machine", sorted(SYSCALLS))
def test_no_call_that_opens_starts_or_connects_is_on_a_list(machine: str) -> None:
    forbidden = {"open", "openat", "socket", "connect", "fork", "clone", "execve", "ptrace", "prctl", "ioctl", "dup"}
    assert not forbidden & set(SYSCALLS[machine][1])


@pytest.mark.parametrize("machine", sorted(SYSCALLS))
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    header = Path(
        {"x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"}.get(machine, "/usr/include/asm-generic/unistd.h")
    )
    if not header.is_file():
        pytest.skip("left out: the kernel's headers are not installed")
    stated = {}
    for line in header.read_text().splitlines():
        words = line.split()
        if len(words) >= 3 and words[0] == "#define" and words[1].startswith("__NR") and words[2].isdecimal():
            stated[words[1].removeprefix("__NR3264_").removeprefix("__NR_")] = int(words[2])
    for name, number in SYSCALLS[machine][1].items():
        assert stated[name] == number, name
