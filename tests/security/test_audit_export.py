"""Exports: what a SIEM reads, who is named, and what an offline check finds."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from lookalike.domain import AuditEntry
from lookalike.errors import NotFound, TamperedData
from security import audit_export, export_check
from security.audit import SealedAuditLog
from security.audit_export import as_cef, as_json, as_sealed, exported, pseudonym
from security.audit_tree import chained, genesis
from security.checkpoints import CHECKPOINT_SETTING
from security.export_check import verify_export
from tests.security.conftest import Clock

ENTRY = AuditEntry("verify", "key:abc", "ok", "r-1", "visitors", "Ada Lovelace", {"match": 1, "similarity": 0.5})


def every(entry: AuditEntry) -> bool:
    return True


@pytest.fixture
def log(memory, memory_keyring, clock: Clock) -> SealedAuditLog:
    return SealedAuditLog(memory, memory_keyring, clock)


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
    for module in (audit_export, export_check):
        monkeypatch.setattr(module, "STATED_EVERY", 4)


def fill(log: SealedAuditLog, count: int) -> None:
    for n in range(count):
        log.append(replace(ENTRY, subject=f"person {n}"))


def export(log, render=as_json, after=0, takes=every, **options) -> list[bytes]:
    before, reader = log.reader_of_exports(after, **options)
    return [line.encode() for line in exported(log.entries_after(after), before, render, reader, takes)]


def entries_of(lines) -> list[dict]:
    return [held for line in lines if "statement" not in (held := json.loads(line))]


# ------------------------------------------------------------------------------------------- what is told


def test_an_entry_in_ecs_fields_names_who_did_it_and_nobody_else(log, memory_keyring, clock):
    log.append(ENTRY)
    held = json.loads(export(log)[0])
    assert held["@timestamp"] == "2027-01-15T08:00:00.250000Z"
    assert held["event"]["action"] == "verify"
    assert (held["event"]["outcome"], held["event"]["reason"], held["event"]["sequence"]) == ("success", "ok", 1)
    assert held["user"]["id"] == "key:abc" and held["http"]["request"]["id"] == "r-1"
    assert held["lookalike"]["collection"] == "visitors"
    assert held["lookalike"]["details"] == {"match": 1, "similarity": 0.5}
    assert held["lookalike"]["subject"] == pseudonym(memory_keyring, "visitors", "Ada Lovelace")
    assert "Ada" not in json.dumps(held)


def test_a_pseudonym_is_the_same_for_the_same_person_of_a_collection_only(memory_keyring, keyring):
    ada = pseudonym(memory_keyring, "visitors", "Ada")
    assert re.fullmatch("p-[0-9a-f]{32}", ada)
    assert ada == pseudonym(memory_keyring, "visitors", "Ada")
    others = [("visitors", "Bob"), ("staff", "Ada"), ("visitorsA", "da"), ("", "visitorsAda")]
    assert ada not in [pseudonym(memory_keyring, *other) for other in others]
    assert ada != pseudonym(keyring, "visitors", "Ada")


@pytest.mark.parametrize("render", [as_json, as_cef])
def test_whoever_may_have_names_gets_them(log, render):
    log.append(ENTRY)
    assert b"Ada Lovelace" in export(log, render, names=True)[0]
    assert b"Ada" not in export(log, render)[0]


def test_a_refused_credential_has_its_peer_as_source(log):
    log.append(AuditEntry("authenticate", "-", "unauthenticated", "-", details={"peer": "192.0.2.1", "refused": 7}))
    held = json.loads(export(log)[0])
    assert held["source"] == {"address": "192.0.2.1"}
    assert held["event"]["category"] == ["authentication"]
    assert held["event"]["outcome"] == "failure"
    assert b" src=192.0.2.1" in export(log, as_cef)[0]


def parse_cef(line: str) -> tuple[list[str], dict[str, str]]:
    """As the standard says: pipes part the header unless escaped, pairs are parted by a space before a key."""
    parts = re.split(r"(?<!\\)(?:\\\\)*\|", line, maxsplit=7)
    pairs = re.findall(r"(\w+)=((?:\\.|[^=\\])*?)(?= \w+=|$)", parts[7])
    unescaped = {"\\\\": "\\", "\\=": "=", "\\n": "\n", "\\r": "\r"}
    return parts[:7], {k: re.sub(r"\\[\\=nr]", lambda m: unescaped[m[0]], v) for k, v in pairs}


@pytest.mark.parametrize(
    "subject",
    [
        "a|b",
        "a\\b",
        "a=b",
        "two\nlines\r\n",
        "cs1=forged suser=admin",
        "\\",
        "\\n",
        "naïve 名",
        "tab\there",
        "x\u2028y",
    ],
)
def test_cef_carries_any_value_as_one_line_and_never_as_another_field(log, subject):
    log.append(replace(ENTRY, subject=subject))
    (line,) = export(log, as_cef, names=True)
    text = line.decode()
    assert len(text.splitlines()) == 1
    header, fields = parse_cef(text)
    assert header == ["CEF:0", "Lookalike", "Lookalike", "-", "verify", "verify", "3"]
    assert (fields["suser"], fields["cs1"], fields["externalId"]) == ("key:abc", "visitors", "1")
    expected = subject.replace("\t", " ").replace("\u2028", " ")
    assert fields["cs2"] == expected


def test_a_pipe_in_a_header_is_escaped(log):
    log.append(replace(ENTRY, action="odd|action\\x"))
    assert export(log, as_cef)[0].startswith(rb"CEF:0|Lookalike|Lookalike|-|odd\|action\\x|odd\|action\\x|3|")


def test_half_a_surrogate_pair_is_written_all_the_same(log):
    log.append(replace(ENTRY, subject="Ada\ud800"))
    for render in (as_json, as_cef, as_sealed):
        assert export(log, render, names=True)


# ----------------------------------------------------------------------------------------------- checking


@pytest.mark.parametrize("render", [as_json, as_sealed])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 11])
def test_a_whole_export_is_sound_by_the_public_key_alone(log, memory_keyring, render, count):
    fill(log, count)
    made = log.checkpoint()
    report = verify_export(export(log, render), memory_keyring.public_key, [made.line] if made else [])
    assert (report.sound, report.entries, report.checkpoints) == (True, count, int(count > 0))
    assert report.root == (made.root.hex() if made else report.root)


def test_sealed_exports_hold_no_plaintext(log):
    log.append(ENTRY)
    text = b"".join(export(log, as_sealed))
    assert not any(word in text for word in (b"Ada", b"visitors", b"key:abc", b"verify"))


ATTACKS = {
    "a value changed": lambda lines: [lines[0].replace(b"key:abc", b"key:xyz"), *lines[1:]],
    "an entry left out": lambda lines: [lines[0], *lines[2:]],
    "two swapped": lambda lines: [lines[1], lines[0], *lines[2:]],
    "one doubled": lambda lines: [lines[0], *lines],
    "the end cut": lambda lines: lines[:-1],
    "a statement left out": lambda lines: [*lines[:4], *lines[5:]],
    "a segment left out": lambda lines: lines[5:10] + lines[10:],
    "segments swapped": lambda lines: [*lines[5:10], *lines[:5], *lines[10:]],
    "all left out": lambda lines: [],
    "nonsense": lambda lines: [b"nonsense", *lines],
    "no object": lambda lines: [b"[]", *lines],
    "a statement changed": lambda lines: [*lines[:4], lines[4].replace(b'"left_out":0', b'"left_out":1'), *lines[5:]],
    "a statement unsigned": lambda lines: [*lines[:4], b'{"statement":"audit.export.statement"}', *lines[5:]],
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_export_that_was_changed_is_found_out(log, memory_keyring, name):
    fill(log, 10)
    made = log.checkpoint()
    lines = export(log)
    report = verify_export(ATTACKS[name](lines), memory_keyring.public_key, [made.line])
    if name == "a segment left out":  # what begins later is sound for what it holds
        assert (report.sound, report.entries) == (True, 10)
        assert entries_of(lines[5:])[0]["event"]["sequence"] == 5
    else:
        assert not report.sound


def test_another_key_signs_nothing_here(log, memory_keyring, keyring):
    fill(log, 2)
    assert not verify_export(export(log), keyring.public_key).sound
    made = log.checkpoint()
    with pytest.raises(TamperedData):
        verify_export(export(log), memory_keyring.public_key, [made.line.replace(b'"seq":2', b'"seq":1')])


def rewrite(memory, deployment, change) -> None:
    held, chain = change(list(memory.tables.audit)), genesis(deployment)
    for at, row in enumerate(held):
        chain = chained(chain, at + 1, row.at, row.payload)
        held[at] = replace(row, seq=at + 1, chain=chain)
    memory.tables.audit[:] = held
    for name in [CHECKPOINT_SETTING, *[n for n in memory.tables.settings if n.startswith("audit.")]]:
        memory.tables.settings.pop(name, None)


@pytest.mark.parametrize(
    ("change", "broken_at"),
    [(lambda rows: [replace(rows[0], at=1.0), *rows[1:]], 6), (lambda rows: rows[:-3], 4)],
    ids=["rewritten", "cut"],
)
def test_a_log_rewritten_and_signed_anew_is_found_out_by_a_checkpoint_kept_before(
    log, memory, memory_keyring, change, broken_at
):
    fill(log, 6)
    kept = log.checkpoint()
    rewrite(memory, memory_keyring.deployment, change)
    before, reader = log.reader_of_exports(0)
    rows = [(row, ENTRY) for row in memory.tables.audit]
    forged = [line.encode() for line in exported(iter(rows), before, as_sealed, reader, every)]
    assert verify_export(forged, memory_keyring.public_key).sound
    report = verify_export(forged, memory_keyring.public_key, [kept.line])
    assert (report.sound, report.broken_at) == (False, broken_at)


def test_an_export_goes_on_where_another_ended_and_both_are_checked_as_one(log, memory_keyring):
    fill(log, 6)
    first, kept = export(log), log.checkpoint()
    fill(log, 5)
    second = export(log, after=6)
    report = verify_export(first + second, memory_keyring.public_key, [kept.line, log.checkpoint().line])
    assert (report.sound, report.entries, report.checkpoints) == (True, 11, 2)
    assert verify_export(second, memory_keyring.public_key, [kept.line]).covered == 6
    assert not verify_export(second + first, memory_keyring.public_key).sound
    with pytest.raises(NotFound):
        export(log, after=12)


def test_an_export_of_some_entries_says_that_it_is_not_whole(log, memory_keyring):
    fill(log, 6)
    some = export(log, takes=lambda entry: entry.seq > 2)
    assert len(entries_of(some)) == 4
    assert "left out on purpose" in verify_export(some, memory_keyring.public_key).reason


def test_a_hole_in_the_log_ends_an_export(log, memory):
    fill(log, 5)
    del memory.tables.audit[2]
    with pytest.raises(TamperedData, match="entry 3 is missing"):
        export(log)
