"""Records come out of their bytes as they went in, and bytes that are no records are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.errors import BadBackup, DataTooNew
from security.backup_records import (
    ApiKeyRecord,
    AuditRecord,
    CollectionRecord,
    End,
    FileRecord,
    RootKey,
    SampleRecord,
    SettingRecord,
    Start,
    SubjectRecord,
    decoded,
    encoded,
)

TEXT, BYTES, TIME = st.text(max_size=20), st.binary(max_size=50), st.floats(0, 4e9)
NUMBER, MAP = st.integers(0, 2**62), st.dictionaries(st.text(max_size=5), st.binary(max_size=30), max_size=3)
RECORDS = st.one_of(
    st.builds(Start, NUMBER, NUMBER),
    st.builds(RootKey, st.binary(min_size=32, max_size=32)),
    st.builds(SettingRecord, TEXT, BYTES),
    st.builds(CollectionRecord, TEXT, BYTES, BYTES, BYTES, TIME, MAP),
    st.builds(SubjectRecord, TEXT, TEXT, BYTES, BYTES, BYTES, TIME, TIME),
    st.builds(SampleRecord, TEXT, TEXT, TEXT, BYTES, TIME, TEXT, MAP, MAP),
    st.builds(ApiKeyRecord, TEXT, BYTES, BYTES),
    st.builds(AuditRecord, NUMBER, TIME, BYTES, BYTES),
    st.builds(FileRecord, TEXT, BYTES),
)


@given(records=st.lists(RECORDS, max_size=12), cuts=st.integers(1, 40))
def test_what_was_encoded_is_decoded_again_in_whatever_pieces_it_comes(records, cuts):
    data = b"".join(encoded(records))
    found = list(decoded(data[at : at + cuts] for at in range(0, len(data), cuts)))
    assert found[:-1] == records
    assert isinstance(found[-1], End)


@given(records=st.lists(RECORDS, max_size=6), data=st.data())
def test_a_stream_that_was_cut_is_refused(records, data):
    whole = b"".join(encoded(records))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(BadBackup):
        list(decoded([whole[:cut]]))


@given(data=st.binary(max_size=200))
def test_any_bytes_are_refused_with_an_error_of_ours(data):
    with pytest.raises((BadBackup, DataTooNew)):
        list(decoded([data]))


def test_a_record_that_is_missing_is_missed_at_the_end():
    one, two, end = encoded([SettingRecord("a", b"1"), SettingRecord("b", b"2")])
    assert len(list(decoded([one, two, end]))) == 3
    for stream in ([one, end], [one, two, two, end], [one, two, end, b"\0"]):
        with pytest.raises(BadBackup):
            list(decoded(stream))


def test_a_root_key_shows_nothing_of_itself():
    assert "41" not in repr(RootKey(b"A" * 32))
    assert "AAAA" not in repr(RootKey(b"A" * 32))
