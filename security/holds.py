"""Legal holds among the rows: which subjects, or collections as a whole, nothing may be taken from for now.

A hold is a setting that goes with its collection. Its name says in the clear which random key is held; why, by whom and
since when is sealed. So a transaction that erases can tell without opening anything.
"""

from __future__ import annotations

from lookalike.errors import LegalHold
from lookalike.ports import RowReader, collection_setting

HOLDS = "hold/"
"""Begins, within a collection's own settings, the name of each hold; a subject's key follows, or `ALL`."""

ALL = "all"


def hold_setting(collection_id: str, subject_key: str = ALL) -> str:
    """The name of a hold."""
    return collection_setting(collection_id, HOLDS + subject_key)


def require_free(rows: RowReader, collection_id: str, subject_key: str) -> None:
    """Raises: LegalHold if the subject is held, or its collection."""
    if any(rows.get_setting(hold_setting(collection_id, which)) is not None for which in (ALL, subject_key)):
        raise LegalHold("a legal hold is on: nothing is erased or overwritten until it is lifted")


def held_keys(rows: RowReader, collection_id: str) -> set[str]:
    """What is held in a collection: keys of subjects that are there, and `ALL`."""
    prefix = collection_setting(collection_id, HOLDS)
    found = {name.removeprefix(prefix) for name in rows.settings(prefix)}
    there = {row.key for row in rows.subjects(sorted(found - {ALL}))}
    return there | (found & {ALL})
