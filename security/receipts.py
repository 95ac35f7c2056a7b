"""Signed receipts of what an erasure destroyed, which anyone can check with the deployment's public key."""

from __future__ import annotations

import json
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lookalike.domain import Receipt
from lookalike.errors import TamperedData
from security.keys import KeyRing
from security.sealed_codec import canonical

_RECEIPT = b"lookalike erasure receipt\n"
"""Goes before the body when it is signed, so that a checkpoint's signature never passes for a receipt's."""


def make_receipt(keyring: KeyRing, body: Mapping[str, object]) -> Receipt:
    """body: random ids, counts and times; no name, since a receipt outlives whom it is about."""
    text = canonical({**body, "deployment": keyring.deployment, "format": 1})
    return Receipt(text.decode(), keyring.sign(_RECEIPT + text).hex(), keyring.public_key.hex())


def check_receipt(receipt: Receipt, public_key: bytes) -> dict[str, object]:
    """The body. public_key: the deployment's, from a trusted place, not from the receipt. Raises: TamperedData."""
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(bytes.fromhex(receipt.signature), _RECEIPT + receipt.body.encode())
        body = json.loads(receipt.body)
    except (ValueError, InvalidSignature):
        raise TamperedData("the receipt is damaged or not signed by this deployment") from None
    if not isinstance(body, dict):
        raise TamperedData("the receipt's body is not an object")
    return body
