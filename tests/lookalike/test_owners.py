from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lookalike.owners import KEY_BYTES, Owners, hex_keys

KEYS = [bytes([0, who] * 8).hex() if who % 2 else bytes([0] * 15 + [who]).hex() for who in range(6)]
"""Half of them have their first eight bytes in common."""


def started(pairs: dict[int, str]) -> Owners:
    owners = Owners()
    labels = np.array(sorted(pairs), dtype=np.int64)
    raw = b"".join(bytes.fromhex(pairs[label]) for label in labels.tolist())
    owners.start(labels, np.frombuffer(raw, dtype=np.uint8).reshape(-1, KEY_BYTES))
    return owners


def assert_holds(owners: Owners, pairs: dict[int, str]) -> None:
    by_key = {key: tuple(sorted(label for label, owner in pairs.items() if owner == key)) for key in KEYS}
    assert {label: owners.owner(label) for label in range(60)} == {label: pairs.get(label) for label in range(60)}
    assert {key: owners.labels_of(key) for key in KEYS} == by_key
    assert (owners.labels, owners.subjects) == (len(pairs), len(set(pairs.values())))
    assert sorted(owners.with_several()) == sorted(labels for labels in by_key.values() if len(labels) > 1)
    owned, keys = owners.keys_of(np.arange(60))
    assert np.flatnonzero(owned).tolist() == sorted(pairs)
    assert hex_keys(keys) == [pairs[label] for label in sorted(pairs)]


@given(
    at_start=st.dictionaries(st.integers(0, 29), st.sampled_from(KEYS)),
    later=st.lists(st.one_of(st.sampled_from(KEYS), st.integers(0, 59)), max_size=40),
    compact_after=st.integers(0, 40),
)
def test_it_holds_what_dicts_would_hold(at_start, later, compact_after):
    """later: a key is given the next label, a number is dropped."""
    owners, pairs, label = started(at_start), dict(at_start), 30
    for step, change in enumerate(later):
        if step == compact_after:
            owners.compact()
        if isinstance(change, int):
            owners.drop(change)
            pairs.pop(change, None)
        elif label < 60:
            owners.put([(label, change)])
            pairs[label] = change
            label += 1

    assert_holds(owners, pairs)


def test_labels_with_gaps_are_found():
    pairs = {5: KEYS[0], 6: KEYS[1], 58: KEYS[0]}
    assert_holds(started(pairs), pairs)
