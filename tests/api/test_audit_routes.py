"""The audit log over HTTP: filters, pages, a fresh checkpoint, and proofs that a client checks by itself."""

from __future__ import annotations

import base64
import struct
from datetime import UTC, datetime

import pytest

from lookalike.domain import Grant
from security.checkpoints import read_checkpoint
from security.merkle import leaf_hash, root_by_inclusion, roots_by_consistency
from security.sealed_codec import canonical


@pytest.fixture
def auditor(real):
    return real.client(Grant("auditor"))


def everything(client, **filters):
    found, cursor = [], "0"
    while cursor is not None:
        page = client.get("/v1/audit", params={"cursor": cursor, "limit": 100, **filters}).json()
        found += page["items"]
        cursor = page["next_cursor"]
    return found


def test_entries_are_filtered_by_what_was_done_by_whom_and_how_it_ended(real, auditor, gallery):
    admin, path = gallery
    name = path.rpartition("/")[2]
    admin.get(path)
    admin.get(f"{path}/subjects/nobody")
    mine = everything(auditor, collection=name)
    assert [entry["action"] for entry in mine] == ["collection.create", "collection.read", "subject.read"]
    assert [e["action"] for e in everything(auditor, collection=name, outcome="subject_not_found")] == ["subject.read"]
    assert [e["action"] for e in everything(auditor, collection=name, action="collection.read")] == ["collection.read"]
    assert {e["principal"] for e in everything(auditor, principal=mine[0]["principal"])} == {mine[0]["principal"]}
    assert everything(auditor, collection=name, principal="key:nobody") == []


def test_entries_are_of_a_time(auditor, gallery):
    now = datetime.now(UTC).isoformat()
    assert everything(auditor, until="2001-01-01T00:00:00Z") == []
    late = everything(auditor, since=now)
    assert {entry["action"] for entry in late} == {"audit.read"}
    assert len(everything(auditor, until=now)) > 0
    assert auditor.get("/v1/audit", params={"since": "yesterday"}).status_code == 422


def test_a_page_of_a_rare_thing_ends_and_can_be_gone_on_after(auditor, gallery, monkeypatch):
    monkeypatch.setattr("lookalike.audit_book.MOST_OPENED", 3)
    _, path = gallery
    page = auditor.get("/v1/audit", params={"action": "no.such.thing", "limit": 2}).json()
    assert (page["items"], page["next_cursor"]) == ([], "3")
    assert len(everything(auditor, collection=path.rpartition("/")[2])) == 1


def test_a_checkpoint_is_signed_anew_and_is_one_that_verify_takes(real, auditor):
    first = auditor.get("/v1/audit/checkpoint").json()
    second = auditor.get("/v1/audit/checkpoint").json()
    assert second["seq"] > first["seq"]
    audit = real.services.audit
    lines = [canonical(held) for held in (first, second)]
    key = bytes.fromhex(first["public_key"])
    assert read_checkpoint(lines[0], first["deployment"], key).root.hex() == first["root"]
    report = audit.verify(lines)
    assert report.sound and report.checkpoints >= 2


def test_a_client_proves_by_itself_that_the_log_grew_and_holds_an_entry(auditor):
    before, after = (auditor.get("/v1/audit/checkpoint").json() for _ in range(2))
    growth = auditor.get("/v1/audit/consistency", params={"earlier": before["seq"], "size": after["seq"]}).json()
    path = [bytes.fromhex(step) for step in growth["path"]]
    old, new = roots_by_consistency(before["seq"], after["seq"], path, bytes.fromhex(before["root"]))
    assert (old.hex(), new.hex()) == (before["root"], after["root"])
    proof = auditor.get("/v1/audit/entries/1/proof", params={"size": after["seq"]}).json()
    leaf = leaf_hash(struct.pack(">Qd", proof["seq"], proof["at"]) + base64.b64decode(proof["entry"]))
    found = root_by_inclusion(leaf, 0, proof["size"], [bytes.fromhex(step) for step in proof["path"]])
    assert found.hex() == after["root"] == proof["root"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/audit/entries/999999999/proof", 404),
        ("/v1/audit/entries/0/proof", 404),
        ("/v1/audit/entries/-1/proof", 404),
        ("/v1/audit/entries/99999999999999999999999/proof", 404),
        ("/v1/audit/entries/x/proof", 422),
        ("/v1/audit/consistency", 422),
        ("/v1/audit/consistency?earlier=999999999", 404),
        ("/v1/audit/consistency?earlier=2&size=1", 404),
        ("/v1/audit/consistency?earlier=0", 422),
        ("/v1/audit?cursor=99999999999999999999", 422),
        ("/v1/audit?cursor=999999999999999", 200),
        ("/v1/audit?unknown=1", 422),
    ],
)
def test_what_is_not_there_is_refused(auditor, path, status):
    assert auditor.get(path).status_code == status


def test_reading_signing_and_proving_are_on_record(auditor, real):
    answers = [
        auditor.get("/v1/audit/checkpoint"),
        auditor.get("/v1/audit/entries/1/proof"),
        auditor.get("/v1/audit/consistency?earlier=1"),
        real.client(Grant("viewer")).get("/v1/audit/checkpoint"),
    ]
    ids = [answer.headers["x-request-id"] for answer in answers]
    told = {e.request_id: (e.action, e.outcome) for _, e in real.services.audit.entries_after(0)}
    assert [told[id] for id in ids] == [
        ("audit.checkpoint", "ok"),
        ("audit.prove", "ok"),
        ("audit.prove", "ok"),
        ("audit.read", "denied"),
    ]


def test_figures_of_the_audit_log_are_told(auditor):
    text = auditor.get("/metrics").text
    for figure in ("audit_broken 0.0", "audit_checkpoints_waiting 0.0", "audit_receivers_failing 0.0"):
        assert f"lookalike_{figure}" in text
    assert "lookalike_credentials_refused" in text
