"""A TLS context whose certificate is changed while it serves, once what lies in its place is good and lies still.

Each handshake is given the newest good context as a whole (certificate, key, versions, ciphers and whom it trusts), so
that a key of another kind leaves nothing of the old one behind, as loading a second pair into one context would.
Connections that are open, and handshakes that have begun, keep the one that they were given. What cannot be used
changes nothing but what is said of it.
"""

from __future__ import annotations

import datetime
import enum
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lookalike.errors import LookalikeError
from security.certificates import not_after, require_current

RETRY_S = 30.0
"""How often a pair that was refused is looked at again, since one that is not valid yet will be."""

RENEW_EVERY_S = 12 * 3600.0
"""How often the context is made anew though nothing changed, by which the service's own certificate is renewed."""

Signature = tuple[tuple[int, int, int, int] | None, ...]


class Look(enum.Enum):
    """What a look has found."""

    SAME = enum.auto()
    TAKEN = enum.auto()
    REFUSED = enum.auto()


class LiveContext(ssl.SSLContext):
    """A server's context that hands each handshake to the one that is current. asyncio asks it for nothing else."""

    current: ssl.SSLContext

    def __new__(cls, current: ssl.SSLContext) -> LiveContext:
        made = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        made.current = current
        return made

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As that of the context that is current at this moment."""
        return self.current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


class ServedCertificate:
    """Looks after a LiveContext. refused: why what lies there is not served, None while it is. One thread looks."""

    def __init__(
        self,
        make: Callable[[], ssl.SSLContext],
        certificate: Path,
        files: Sequence[Path],
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        """make: a context of the files as they are now, checked; certificate: the chain; files: the others it reads.

        Raises: as `make`.
        """
        self._make = make
        self._certificate = certificate
        self._files = (certificate, *files)
        self._clock = clock
        self._today = today
        self.context = LiveContext(make())
        self.not_after = not_after(certificate.read_bytes())
        self.refused: str | None = None
        self._served = self._seen = _signature(self._files)
        self._tried: tuple[Signature, float] | None = None
        self._renew_at = clock() + RENEW_EVERY_S

    def look(self, *, still: bool = False) -> Look:
        """Take up what lies there if it is new and good. still: nobody is writing it, so there is no need to wait."""
        found = _signature(self._files)
        still, self._seen = still or found == self._seen, found
        if found == self._served:
            self.refused = None
            if self._clock() >= self._renew_at:
                self._renew()
            return Look.SAME
        if not still or self._was_tried(found):
            return Look.SAME
        return self._take(found)

    def _was_tried(self, found: Signature) -> bool:
        return self._tried is not None and self._tried[0] == found and self._clock() - self._tried[1] < RETRY_S

    def _take(self, found: Signature) -> Look:
        told = self.refused
        try:
            chain = self._certificate.read_bytes()
            require_current(chain, self._today())
            context, ends = self._make(), not_after(chain)
        except Exception as error:  # whatever a broken file makes of a parser, the old pair is served
            self.refused = _reason(error)
        else:
            if _signature(self._files) != found:
                return Look.SAME  # written to meanwhile: the next look sees all of it
            self.context.current, self.not_after, self.refused = context, ends, None
            self._served, self._tried = found, None
            return Look.TAKEN
        self._tried = (found, self._clock())
        return Look.SAME if self.refused == told else Look.REFUSED

    def _renew(self) -> None:
        """Let the maker renew its files where it is time; the next looks take them up."""
        self._renew_at = self._clock() + RENEW_EVERY_S
        try:
            self._make()
        except Exception as error:
            self.refused = _reason(error)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, LookalikeError) else f"it cannot be read ({type(error).__name__})"


def _signature(files: Sequence[Path]) -> Signature:
    """Tells one content of the files from another without reading it: inode, size, times of change."""
    found: list[tuple[int, int, int, int] | None] = []
    for file in files:
        try:
            facts = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns))
    return tuple(found)
