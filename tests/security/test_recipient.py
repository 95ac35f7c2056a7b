"""What is sealed to a recipient opens for nobody else, and only as a trusted sender sealed it."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.errors import BadSettings, LookalikeError, TamperedData, UntrustedSender, WrongRecipient
from security.bundle_file import new_maker
from security.envelope import Context
from security.keys import KeyRing
from security.recipient import (
    HEAD_BYTES,
    Recipient,
    RecipientKey,
    Sender,
    new_recipient_key,
    open_sealed_to,
    read_recipient,
    read_recipient_key,
    recipient_from,
    recipient_line,
    seal_to,
    sender_in,
    sender_of,
)
from tests.security import make_vectors
from tests.security.memory_rows import MemoryRows

VECTORS = Path(__file__).parent / "vectors" / "recipients.json"
CONTEXT = Context("", "backup")
OURS, THEIRS = RecipientKey(bytes(range(32))), RecipientKey(bytes(range(32, 64)))


def opened(key: RecipientKey, sealed: bytes, trusted: list[bytes], context: Context = CONTEXT) -> bytes:
    return b"".join(open_sealed_to(key, io.BytesIO(sealed), context, trusted))


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> Sender:
    maker = new_maker(tmp_path_factory.mktemp("sender") / "key")
    return Sender(maker.public_key, maker.sign)


@pytest.fixture(scope="module")
def sealed(sender: Sender) -> bytes:
    return b"".join(seal_to(OURS.recipient, sender, [b"a secret ", b"of some length"], CONTEXT))


@pytest.mark.parametrize("case", json.loads(VECTORS.read_text("utf-8")), ids=lambda case: case["note"])
def test_each_published_vector_opens_or_is_refused_as_it_says(case):
    key, sealed = RecipientKey(bytes.fromhex(case["key"])), bytes.fromhex(case["sealed"])
    context, trusted = Context(**case["context"]), [bytes.fromhex(case["trusted"])]
    if case["plaintext"] is None:
        with pytest.raises((TamperedData, WrongRecipient, UntrustedSender)):
            opened(key, sealed, trusted, context)
    else:
        assert opened(key, sealed, trusted, context) == bytes.fromhex(case["plaintext"])


def test_the_published_vectors_are_those_that_the_reference_makes():
    assert json.loads(VECTORS.read_text("utf-8")) == make_vectors.recipients()


@given(pieces=st.lists(st.binary(max_size=200), max_size=5))
def test_what_was_sealed_comes_out_again(sender: Sender, pieces: list[bytes]):
    sealed = b"".join(seal_to(OURS.recipient, sender, pieces, CONTEXT))
    assert opened(OURS, sealed, [sender.public_key]) == b"".join(pieces)


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_other_bit_anywhere_is_refused_before_a_byte_comes_out(sender, sealed, place, bit):
    changed = bytearray(sealed)
    changed[place % len(changed)] ^= 1 << bit
    with pytest.raises(LookalikeError):
        next(open_sealed_to(OURS, io.BytesIO(bytes(changed)), CONTEXT, [sender.public_key]))


@given(length=st.integers(0, 10_000))
def test_a_file_cut_anywhere_is_refused(sender, sealed, length):
    with pytest.raises(TamperedData):
        opened(OURS, sealed[: length % len(sealed)], [sender.public_key])


def test_another_recipient_is_told_whose_it_is(sender, sealed):
    with pytest.raises(WrongRecipient, match=OURS.recipient.fingerprint):
        opened(THEIRS, sealed, [sender.public_key])


def test_a_sender_whom_nobody_named_is_refused_and_shown(sender, sealed):
    with pytest.raises(UntrustedSender, match=sender.public_key.hex()):
        opened(OURS, sealed, [])


def test_one_can_ask_who_sealed_a_file_before_trusting_anyone(sender, sealed):
    assert sender_in(io.BytesIO(sealed), OURS.recipient, CONTEXT) == sender.public_key
    lied = sealed[: HEAD_BYTES - 96] + bytes(32) + sealed[HEAD_BYTES - 64 :]
    with pytest.raises(TamperedData):
        sender_in(io.BytesIO(lied), OURS.recipient, CONTEXT)


def test_a_file_of_one_kind_does_not_pass_for_another(sender, sealed):
    with pytest.raises(TamperedData):
        opened(OURS, sealed, [sender.public_key], Context("", "collection"))


def test_two_files_of_the_same_have_nothing_in_common(sender, sealed):
    again = b"".join(seal_to(OURS.recipient, sender, [b"a secret of some length"], CONTEXT))
    assert again[21:53] != sealed[21:53]
    assert again[HEAD_BYTES:] != sealed[HEAD_BYTES:]


def test_a_deployment_seals_with_the_key_that_its_receipts_are_signed_with(memory: MemoryRows, memory_keyring: KeyRing):
    sealed = b"".join(seal_to(OURS.recipient, sender_of(memory_keyring), [b"x"], CONTEXT))
    assert opened(OURS, sealed, [memory_keyring.public_key]) == b"x"


def test_a_recipients_key_that_nobody_can_have_made_is_refused(sender):
    with pytest.raises(BadSettings, match="no usable"):
        seal_to(Recipient(bytes(32)), sender, [b"x"], CONTEXT)


def test_a_key_shows_nothing_of_itself():
    assert bytes(range(32)).hex() not in repr(OURS)
    with pytest.raises(TypeError):
        pickle.dumps(OURS)


# ------------------------------------------------------------------------------------------------- key files


def test_a_key_is_written_for_its_owner_alone_and_read_again(tmp_path: Path):
    made = new_recipient_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert read_recipient_key(tmp_path / "key").recipient == made.recipient
    assert read_recipient(tmp_path / "key.pub") == made.recipient


@pytest.mark.parametrize("there", ["key", "key.pub"])
def test_no_key_is_overwritten_and_none_is_half_made(tmp_path: Path, there: str):
    (tmp_path / there).write_text("mine")
    with pytest.raises(BadSettings, match="exists"):
        new_recipient_key(tmp_path / "key")
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"


def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path):
    new_recipient_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(BadSettings, match="chmod 600"):
        read_recipient_key(tmp_path / "key")


def test_each_half_says_what_it_is_where_the_other_is_wanted(tmp_path: Path):
    new_recipient_key(tmp_path / "key")
    with pytest.raises(BadSettings, match="private key"):
        read_recipient(tmp_path / "key")
    with pytest.raises(BadSettings, match="no recipient's private key"):
        read_recipient_key(tmp_path / "key.pub")


@given(place=st.integers(0, 200), letter=st.sampled_from("0123456789abcdef"))
def test_a_mistyped_public_key_is_found_out(place: int, letter: str):
    line = recipient_line(OURS.recipient)
    place %= len(line)
    typed = line[:place] + letter + line[place + 1 :]
    if typed != line:
        with pytest.raises(BadSettings):
            recipient_from(typed)


@pytest.mark.parametrize("text", ["", "lookalike-recipient-public-1:", "ab" * 32, "\N{SNOWMAN}"])
def test_what_is_no_key_is_refused(tmp_path: Path, text: str):
    (tmp_path / "key").write_text(text, "utf-8")
    with pytest.raises(BadSettings):
        read_recipient(tmp_path / "key")
    with pytest.raises(BadSettings):
        read_recipient_key(tmp_path / "key")


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(BadSettings, match="cannot be read"):
        read_recipient_key(tmp_path / "none")
