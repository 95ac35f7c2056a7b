"""Gives up, for good and without root, whatever a process needs not to turn bytes into pixels. Linux; see `confine`.

The filter of system calls is a list of what is allowed (memory, its one socket, the clock, ending); anything else is
answered with EPERM, so that a library that asks for more than it needs goes on without. Numbers are those of the
kernel's tables for x86-64 and AArch64; on another machine, or where the kernel has no such filter, limits alone hold.

Source: https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2

_LOAD_WORD, _IF_EQUAL, _IF_AT_LEAST, _ANSWER = 0x20, 0x15, 0x35, 0x06
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | errno.EPERM
_KILL: Final = 0x80000000
_NUMBER_AT, _MACHINE_AT = 0, 4  # in struct seccomp_data
_X32_BIT: Final = 0x40000000

_NAMES: Final = (
    "read", "write", "close", "mmap", "mprotect", "munmap", "mremap", "brk", "madvise", "futex", "sched_yield",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "recvfrom", "sendto", "recvmsg", "sendmsg", "getpid", "gettid",
    "getrandom", "clock_gettime", "getrusage", "setitimer", "exit", "exit_group",
)  # fmt: skip
_X86_64: Final = (
    0, 1, 3, 9, 10, 11, 25, 12, 28, 202, 24,
    13, 14, 15, 45, 44, 47, 46, 39, 186,
    318, 228, 98, 38, 60, 231,
)  # fmt: skip
_AARCH64: Final = (
    63, 64, 57, 222, 226, 215, 216, 214, 233, 98, 124,
    134, 135, 139, 207, 206, 212, 211, 172, 178,
    278, 113, 165, 103, 93, 94,
)  # fmt: skip

SYSCALLS: Final[Mapping[str, tuple[int, Mapping[str, int]]]] = {
    "x86_64": (0xC000003E, dict(zip(_NAMES, _X86_64, strict=True))),
    "aarch64": (0xC00000B7, dict(zip(_NAMES, _AARCH64, strict=True))),
}
"""By machine: its number in the audit architecture's list, and the calls that are allowed."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a process may use. memory_bytes: of address space; cpu_s: of processor time in its whole life."""

    memory_bytes: int
    cpu_s: int


def die_with_parent(parent: int) -> None:
    """Have this process killed when the thread that made it ends; at once if `parent` is gone. Linux only."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def confine(bounds: Bounds) -> bool:
    """Give up privileges, files, network, processes and unbounded memory; whether system calls are filtered too.

    It cannot be undone. Descriptors that are open stay so: the caller closes those that are not needed.
    """
    for kind, most in (
        (resource.RLIMIT_AS, bounds.memory_bytes),
        (resource.RLIMIT_CPU, bounds.cpu_s),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, bound))
    if not _prctl(_PR_SET_NO_NEW_PRIVS, 1):
        return False
    _prctl(_PR_SET_DUMPABLE, 0)  # no core, and nobody of the same account attaches
    return _filter_calls()


def _filter_calls() -> bool:
    known = SYSCALLS.get(platform.machine())
    if known is None or sys.platform != "linux":
        return False
    program = filter_program(known[0], sorted(known[1].values()))
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: how many instructions, and where they are
    described = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    return _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(described, len(described)))


def filter_program(machine: int, allowed: list[int]) -> bytes:
    """The classic BPF program that lets these calls of this machine through, and refuses others. Pure."""
    checks = [
        _instruction(_LOAD_WORD, _MACHINE_AT),
        _instruction(_IF_EQUAL, machine, if_true=1),
        _instruction(_ANSWER, _KILL),  # another machine's numbers mean other calls
        _instruction(_LOAD_WORD, _NUMBER_AT),
        _instruction(_IF_AT_LEAST, _X32_BIT, if_true=len(allowed)),
    ]
    for i, number in enumerate(allowed):
        checks.append(_instruction(_IF_EQUAL, number, if_true=len(allowed) - i))
    return b"".join([*checks, _instruction(_ANSWER, _REFUSE), _instruction(_ANSWER, _ALLOW)])


def _instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _prctl(option: int, value: int, pointer: object = None) -> bool:
    """Whether the kernel did it; False where there is no such call."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    argument = pointer if pointer is not None else ctypes.c_ulong(0)
    return int(libc.prctl(option, ctypes.c_ulong(value), argument, ctypes.c_ulong(0), ctypes.c_ulong(0))) == 0
