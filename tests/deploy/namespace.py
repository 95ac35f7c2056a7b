"""A network namespace with one way out that leads nowhere and counts what is sent into it. Needs root."""

from __future__ import annotations

import ctypes
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000
OUTSIDE = "192.0.2.1"
"""An address for documents (RFC 5737), beyond the way out."""


def enter(descriptor: int) -> None:
    """Put the calling thread, and each process that it starts, into a namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Namespace:
    def __init__(self) -> None:
        self.name = f"lookalike-{secrets.token_hex(4)}"

    def ip(self, *arguments: str) -> str:
        return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True).stdout

    def make(self) -> None:
        """Loopback, and a default route over a device whose other end nobody listens at; it counts what is sent."""
        self.ip("netns", "add", self.name)
        inside = ("-n", self.name)
        # Otherwise the kernel itself would send router solicitations on it.
        self.ip("netns", "exec", self.name, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")
        self.ip(*inside, "link", "set", "lo", "up")
        self.ip(*inside, "link", "add", "out", "type", "veth", "peer", "name", "nowhere")
        self.ip(*inside, "link", "set", "out", "arp", "off")
        self.ip(*inside, "link", "set", "nowhere", "up")
        self.ip(*inside, "addr", "add", "198.51.100.1/24", "dev", "out")
        self.ip(*inside, "link", "set", "out", "up")
        self.ip(*inside, "route", "add", "default", "dev", "out")

    def sent(self) -> int:
        """How many packets went the way out so far."""
        return int(self.ip("netns", "exec", self.name, "cat", "/sys/class/net/out/statistics/tx_packets"))

    def remove(self) -> None:
        self.ip("netns", "delete", self.name)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread is in the namespace meanwhile."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(Path("/run/netns") / self.name, os.O_RDONLY)
        try:
            enter(there)
            yield
        finally:
            enter(before)
            os.close(before)
            os.close(there)
