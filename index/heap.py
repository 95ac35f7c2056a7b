"""Gives memory that was freed back to the system, which the C library keeps by itself.

What large arrays and codes took on the way lies in the heap between what is still in use, and glibc gives back the end
of it only: a process that took over a million faces kept 75 MB so. Elsewhere than with glibc this does nothing.
"""

from __future__ import annotations

import ctypes


def give_back_freed_memory() -> None:
    """Takes a few milliseconds, for which other threads wait if they allocate; so at the end of large work."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
