"""The tree against the recursive definition of RFC 6962, written out here, and against its published values."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.merkle import (
    EMPTY,
    Frontier,
    consistency_proof,
    decode_frontier,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_by_inclusion,
    roots_by_consistency,
    subtree,
)

# The inputs and roots of the reference implementation of Certificate Transparency.
INPUTS = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def slow_root(leaves):
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + slow_root(leaves[:k]) + slow_root(leaves[k:])).digest()


def leaves_of(count):
    return [leaf_hash(bytes([n % 256, n // 256])) for n in range(count)]


def perfect_of(leaves):
    return lambda level, index: slow_root(leaves[index << level : (index + 1) << level])


def frontier_of(leaves):
    made = Frontier()
    for leaf in leaves:
        made.add(leaf)
    return made


@pytest.mark.parametrize("count", ROOTS)
def test_roots_are_those_of_certificate_transparency(count):
    assert frontier_of([leaf_hash(entry) for entry in INPUTS[:count]]).root().hex() == ROOTS[count]


@given(st.integers(0, 300))
def test_the_root_of_leaves_added_one_by_one_is_that_of_the_definition(count):
    leaves = leaves_of(count)
    made = frontier_of(leaves)
    assert made.root() == slow_root(leaves) == subtree(perfect_of(leaves), 0, count)
    again = decode_frontier(made.encode())
    assert again == made
    again.add(leaves_of(1)[0])
    assert again.root() == slow_root([*leaves, leaves_of(1)[0]])


def test_adding_tells_of_every_perfect_subtree_once():
    told, leaves, made = {}, leaves_of(21), Frontier()
    for leaf in leaves:
        made.add(leaf, lambda level, index, root: told.update({(level, index): root}))
    assert told == {
        (level, index): perfect_of(leaves)(level, index) for level in range(1, 5) for index in range(21 >> level)
    }


@given(st.integers(1, 200).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1))))
def test_an_inclusion_proof_leads_to_the_root_and_another_leaf_does_not(pair):
    size, index = pair
    leaves = leaves_of(size)
    proof = inclusion_proof(perfect_of(leaves), index, size)
    assert len(proof) <= max(1, (size - 1).bit_length())
    assert root_by_inclusion(leaves[index], index, size, proof) == slow_root(leaves)
    assert root_by_inclusion(leaf_hash(b"forged"), index, size, proof) != slow_root(leaves)
    for wrong in (proof[:-1], [*proof, EMPTY]):
        if wrong != proof:
            with pytest.raises(ValueError):
                root_by_inclusion(leaves[index], index, size, wrong)


@given(st.integers(2, 200).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size - 1))))
def test_a_consistency_proof_leads_to_both_roots_and_not_from_a_rewritten_log(pair):
    size, earlier = pair
    leaves = leaves_of(size)
    before, after = slow_root(leaves[:earlier]), slow_root(leaves)
    proof = consistency_proof(perfect_of(leaves), earlier, size)
    assert roots_by_consistency(earlier, size, proof, before) == (before, after)
    rewritten = [leaf_hash(b"forged"), *leaves[1:]]
    forged = consistency_proof(perfect_of(rewritten), earlier, size)
    old, new = roots_by_consistency(earlier, size, forged, before)
    assert (old, new) != (before, slow_root(rewritten))
    for wrong in (proof[:-1], [*proof, EMPTY]):
        with pytest.raises(ValueError):
            roots_by_consistency(earlier, size, wrong, before)


@pytest.mark.parametrize("data", [b"", b"\x00" * 7, (1).to_bytes(8, "big"), (2).to_bytes(8, "big") + bytes(33)])
def test_what_is_no_frontier_is_refused(data):
    with pytest.raises(ValueError):
        decode_frontier(data)


def test_a_leaf_never_passes_for_a_node():
    left, right = leaves_of(2)
    assert leaf_hash(left + right) != node_hash(left, right)
