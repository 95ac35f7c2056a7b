"""Opaque cursors of lists: where a page ended, authenticated, and good for the same list and filter only."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping

from lookalike.errors import InvalidInput
from security.keys import KeyRing
from security.sealed_codec import canonical

_MAC_BYTES = 16


class Cursors:
    """Makes and reads cursors of this deployment."""

    def __init__(self, keyring: KeyRing) -> None:
        self._keyring = keyring

    def make(self, after: str, collection_id: str, filter: Mapping[str, str]) -> str:
        """after: the key of the last subject seen, hex."""
        place = bytes.fromhex(after)
        return base64.urlsafe_b64encode(self._mac(place, collection_id, filter) + place).decode().rstrip("=")

    def read(self, cursor: str, collection_id: str, filter: Mapping[str, str]) -> str:
        """The key that it was made of. Raises: InvalidInput for one that was not made for this list."""
        try:
            data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            data = b""
        mac, place = data[:_MAC_BYTES], data[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(place, collection_id, filter)):
            raise InvalidInput("cursor: only one that this list gave, with the same filter, is allowed")
        return place.hex()

    def _mac(self, place: bytes, collection_id: str, filter: Mapping[str, str]) -> bytes:
        bound = self._keyring.lookup("cursor", place, collection_id.encode(), canonical(filter))
        return bound[:_MAC_BYTES]
