"""Whatever is sealed opens to the same bytes under the same key and context, and under nothing else."""

from __future__ import annotations

import io
from dataclasses import asdict, fields, replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lookalike.errors import TamperedData
from security import envelope, sealed_stream
from security.envelope import OVERHEAD, Context, open_sealed, seal
from security.key_wrap import WRAPPED_BYTES, KeyWrapper
from security.secret_key import SecretKey
from tests.security import reference_envelope

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.integers(0, 2**64 - 1)
contexts = st.builds(
    Context,
    deployment=texts,
    type=texts,
    collection=texts,
    subject=texts,
    record=texts,
    schema=numbers,
    model=texts,
    version=numbers,
)
keys = st.binary(min_size=32, max_size=32).map(SecretKey)
plaintexts = st.binary(max_size=200)
CHUNK = 8


def forall(*strategies):
    """As given, without a deadline: these tests share a machine."""
    return lambda test: settings(deadline=None)(given(*strategies)(test))


def flip(data: bytes, bit: int) -> bytes:
    at, shift = divmod(bit % (8 * len(data)), 8)
    return data[:at] + bytes([data[at] ^ (1 << shift)]) + data[at + 1 :]


def small_stream(key: SecretKey, plaintext: bytes, context: Context, salt: bytes = b"s" * 32) -> bytes:
    """A stream of tiny chunks, so that short texts have several."""
    return b"".join(sealed_stream._seal_with_salt(key, [plaintext], context, salt, b"prefix7", CHUNK))


def open_whole(key: SecretKey, data: bytes, context: Context) -> bytes:
    return b"".join(sealed_stream.open_stream(key, io.BytesIO(data), context))


# ------------------------------------------------------------------------------------------------ records


@forall(keys, plaintexts, contexts)
def test_a_record_opens_to_what_was_sealed_and_is_longer_by_the_overhead(key, plaintext, context):
    sealed = seal(key, plaintext, context)
    assert open_sealed(key, sealed, context) == plaintext
    assert len(sealed) == len(plaintext) + OVERHEAD
    assert seal(key, plaintext, context) != sealed


@forall(keys, plaintexts, contexts, st.binary(min_size=32, max_size=32))
def test_a_record_is_sealed_as_the_reference_seals_it(key, plaintext, context, salt):
    expected = reference_envelope.seal_record(key.material, plaintext, asdict(context), salt)
    assert envelope._seal_with_salt(key, plaintext, context, salt) == expected


@forall(keys, plaintexts, contexts, st.integers(0))
def test_every_flipped_bit_of_a_record_is_refused(key, plaintext, context, bit):
    with pytest.raises(TamperedData):
        open_sealed(key, flip(seal(key, plaintext, context), bit), context)


@forall(keys, plaintexts, contexts, st.data())
def test_every_truncation_and_extension_of_a_record_is_refused(key, plaintext, context, data):
    sealed = seal(key, plaintext, context)
    cut = data.draw(st.integers(0, len(sealed) - 1))
    for damaged in (sealed[:cut], sealed + data.draw(st.binary(min_size=1, max_size=40)), sealed[cut + 1 :]):
        with pytest.raises(TamperedData):
            open_sealed(key, damaged, context)


@forall(keys, plaintexts, plaintexts, contexts, st.data())
def test_parts_of_two_records_under_one_key_and_context_do_not_make_a_third(key, one, two, context, data):
    a, b = seal(key, one, context), seal(key, two, context)
    cut = data.draw(st.integers(14, min(len(a), len(b)) - 1))
    third = a[:cut] + b[cut:]
    assume(third not in (a, b))  # where their last bytes happen to be the same
    with pytest.raises(TamperedData):
        open_sealed(key, third, context)


@forall(keys, plaintexts, contexts, contexts)
def test_a_record_does_not_open_in_another_place(key, plaintext, context, other):
    assume(context != other)
    with pytest.raises(TamperedData):
        open_sealed(key, seal(key, plaintext, context), other)


@forall(keys, plaintexts, contexts, st.sampled_from([f.name for f in fields(Context)]), texts, numbers)
def test_a_record_does_not_open_when_one_field_of_its_place_differs(key, plaintext, context, name, text, number):
    value = number if isinstance(getattr(context, name), int) else text
    assume(value != getattr(context, name))
    with pytest.raises(TamperedData):
        open_sealed(key, seal(key, plaintext, context), replace(context, **{name: value}))


@forall(keys, keys, plaintexts, contexts)
def test_a_record_does_not_open_under_another_key(key, other, plaintext, context):
    assume(key.material != other.material)
    with pytest.raises(TamperedData):
        open_sealed(other, seal(key, plaintext, context), context)


@forall(contexts, contexts)
def test_two_places_that_differ_never_encode_alike(one, two):
    assert (one.encode() == two.encode()) == (one == two)


# ---------------------------------------------------------------------------------------------- streams


@forall(keys, st.binary(max_size=60), contexts, st.data())
def test_a_stream_opens_to_what_was_sealed_however_it_was_cut_into_pieces(key, plaintext, context, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(plaintext)), max_size=5)))
    pieces = [plaintext[a:b] for a, b in zip([0, *cuts], [*cuts, len(plaintext)], strict=True)]
    sealed = b"".join(sealed_stream._seal_with_salt(key, pieces, context, b"s" * 32, b"prefix7", CHUNK))
    assert sealed == reference_envelope.seal_stream(
        key.material, plaintext, asdict(context), b"s" * 32, b"prefix7", CHUNK
    )
    assert open_whole(key, sealed, context) == plaintext
    assert open_whole(key, b"".join(sealed_stream.seal_stream(key, pieces, context)), context) == plaintext


@forall(keys, st.binary(max_size=60), contexts, st.integers(0))
def test_every_flipped_bit_of_a_stream_is_refused(key, plaintext, context, bit):
    with pytest.raises(TamperedData):
        open_whole(key, flip(small_stream(key, plaintext, context), bit), context)


@forall(keys, st.binary(max_size=60), contexts, st.data())
def test_every_truncation_and_extension_of_a_stream_is_refused(key, plaintext, context, data):
    sealed = small_stream(key, plaintext, context)
    cut = data.draw(st.integers(0, len(sealed) - 1))
    for damaged in (sealed[:cut], sealed + data.draw(st.binary(min_size=1, max_size=40))):
        with pytest.raises(TamperedData):
            open_whole(key, damaged, context)


@forall(keys, st.binary(min_size=2 * CHUNK + 1, max_size=60), contexts, st.randoms(use_true_random=False))
def test_chunks_in_another_order_or_from_another_stream_are_refused(key, plaintext, context, random):
    own, foreign = small_stream(key, plaintext, context), small_stream(key, plaintext, context, b"t" * 32)
    head, size = own[: sealed_stream.HEADER_BYTES], CHUNK + 16
    chunks = [own[at : at + size] for at in range(len(head), len(own), size)]
    others = [foreign[at : at + size] for at in range(len(head), len(foreign), size)]
    shuffled = random.sample(chunks, len(chunks))
    spliced = list(chunks)
    spliced[random.randrange(len(chunks))] = random.choice(others)
    for damaged in (shuffled, spliced, [*chunks, chunks[-1]], chunks[1:], [*chunks[:-2], chunks[-1]]):
        if damaged != chunks:
            with pytest.raises(TamperedData):
                open_whole(key, head + b"".join(damaged), context)


@forall(keys, st.binary(min_size=3 * CHUNK, max_size=60), contexts, st.integers(0))
def test_a_damaged_stream_releases_only_chunks_that_were_sealed(key, plaintext, context, bit):
    released = b""
    with pytest.raises(TamperedData):
        for chunk in sealed_stream.open_stream(
            key, io.BytesIO(flip(small_stream(key, plaintext, context), bit)), context
        ):
            released += chunk
    assert plaintext.startswith(released)
    assert len(released) < len(plaintext)


# ------------------------------------------------------------------------------------------ wrapped keys


@forall(keys, keys, contexts, st.integers(0), st.integers(0, WRAPPED_BYTES - 1))
def test_a_wrapped_key_opens_whole_or_not_at_all(wrapping, key, context, bit, cut):
    wrapper = KeyWrapper(wrapping)
    wrapped = wrapper.wrap(key, context)
    assert wrapper.unwrap(wrapped, context).material == key.material
    nonce = wrapped[13:25]
    assert wrapped == reference_envelope.wrap_key(wrapping.material, key.material, asdict(context), nonce)
    for damaged in (flip(wrapped, bit), wrapped[:cut], wrapped + b"\x00"):
        with pytest.raises(TamperedData):
            wrapper.unwrap(damaged, context)


@forall(keys, keys, keys, contexts, contexts)
def test_a_wrapped_key_opens_under_its_own_key_and_place_only(wrapping, other, key, context, elsewhere):
    assume(context != elsewhere and wrapping.material != other.material)
    wrapped = KeyWrapper(wrapping).wrap(key, context)
    with pytest.raises(TamperedData):
        KeyWrapper(wrapping).unwrap(wrapped, elsewhere)
    with pytest.raises(TamperedData):
        KeyWrapper(other).unwrap(wrapped, context)
