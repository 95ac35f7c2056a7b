"""A collection goes to another deployment whole, to nobody else, and once."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lookalike import exports
from lookalike.domain import Consent, Keep
from lookalike.errors import (
    CollectionExists,
    CollectionNotFound,
    Conflict,
    LookalikeError,
    ModelNotAvailable,
    PermissionDenied,
    TamperedData,
    UntrustedSender,
    WrongRecipient,
)
from lookalike.exports import Taken, Transfers
from lookalike.reindex import Reindexer
from security.collection_export import entries, seal_export, verify
from security.keys import KeyRing, open_key_ring
from security.recipient import RecipientKey, sender_of
from security.sealed_adoption import SealedAdoption
from tests.lookalike.conftest import House, open_at

RECIPIENT, OTHER = RecipientKey(bytes(range(32))), RecipientKey(bytes(range(32, 64)))


@dataclass
class Deployment:
    """A house with its keys, that sends and takes in."""

    house: House
    keyring: KeyRing
    transfers: Transfers

    @classmethod
    def at(cls, folder) -> Deployment:
        folder.mkdir(exist_ok=True)
        house = open_at(folder)
        keyring = open_key_ring("file:keys/root.key", folder, house.rows)
        adoption = SealedAdoption(house.rows, keyring, house.audit)
        return cls(house, keyring, Transfers(house.records, adoption, house.audit, house.models))

    def export(self, admin, name="staff") -> bytes:
        head, found = self.transfers.begin_export(admin, name, RECIPIENT.recipient.fingerprint)
        return b"".join(seal_export(head, found, RECIPIENT.recipient, sender_of(self.keyring)))

    def take_in(self, admin, sent: bytes, sender: Deployment, **options) -> Taken:
        file, trusted = io.BytesIO(sent), [sender.keyring.public_key]
        head = verify(file, RECIPIENT, trusted)
        return self.transfers.take_in(admin, head, entries(file, RECIPIENT, trusted), **options)

    def names(self) -> list[str]:
        return [collection.name for collection in self.house.records.collections()]


@pytest.fixture
def here(tmp_path):
    made = Deployment.at(tmp_path / "here")
    yield made
    made.house.close()


@pytest.fixture
def there(tmp_path):
    made = Deployment.at(tmp_path / "there")
    yield made
    made.house.close()


@pytest.fixture
def filled(here, admin, shoot, pictures) -> Callable[..., Deployment]:
    """`here` with a collection of some people of two pictures each."""

    def fill(people: int = 5, **options) -> Deployment:
        gallery = here.house.gallery
        gallery.create_collection(admin, "staff", target_fpir=0.02, retention_days=30, **options)
        for who in range(people):
            gallery.enrol(admin, "staff", f"p{who}", pictures(shoot(who), shoot(who, shot=1)))
        consent = Consent("contract", "no. 7", "2030-01-01")
        gallery.put_subject(admin, "staff", "p0", metadata={"site": "Łódź"}, consent=consent, valid_from="2020-01-01")
        gallery.put_subject(admin, "staff", "nobody yet", metadata={})
        return here

    return fill


def people_of(deployment: Deployment, admin, name="staff") -> dict[str, object]:
    """All that is known of everybody, but their place in this deployment."""
    house, found = deployment.house, {}
    where = house.records.collection(name)
    for batch in house.records.stream_subjects(where):
        for s in batch:
            samples = house.records.samples(where, s)
            found[s.id] = (
                s.metadata, s.consent, s.valid_from, s.valid_until, s.created_at,
                [(x.id, x.box, x.quality, x.vector.tobytes(), x.created_at) for x in samples],
                [house.records.picture(where, s, x.id, Keep.CROP) for x in samples],
            )  # fmt: skip
    return found


def test_everything_arrives_under_the_same_ids_and_answers_as_before(filled, there, admin, shoot):
    here = filled()
    taken = there.take_in(admin, here.export(admin), here)
    assert (taken.collection, taken.subjects, taken.samples, taken.left_out, taken.before) == ("staff", 6, 10, 0, 0)
    assert people_of(there, admin) == people_of(here, admin)
    mine, theirs = (d.house.gallery.collection(admin, "staff").collection for d in (here, there))
    assert (mine.kind, mine.space, mine.keep, mine.target_fpir, mine.retention_days) == (
        theirs.kind, theirs.space, theirs.keep, theirs.target_fpir, theirs.retention_days,
    )  # fmt: skip
    asked = [d.house.gallery.identify(admin, "staff", shoot(3, shot=5)).faces[0].candidates[0] for d in (here, there)]
    assert asked[0].subject.id == asked[1].subject.id == "p3"
    assert asked[0].similarity == pytest.approx(asked[1].similarity, abs=1e-6)


def test_rules_withdrawals_and_renewals_go_along(filled, there, admin):
    here = filled()
    rules = {"require_consent": True, "erase_expired_consent": True}
    entry = here.house.audit.page(0, 1)[0]
    where = here.house.records.collection("staff")
    here.house.records.change_collection(where, lambda c: replace(c, **rules), entry)
    withdrawn = Consent("consent", "no. 7", None, "2026-02-01T00:00:00+00:00")
    here.house.records.change_subject(
        where, "p0", lambda s: replace(s, consent=withdrawn, renewed_at=1_800_000_000.5), entry
    )
    there.take_in(admin, here.export(admin), here)
    arrived = there.house.records.collection("staff")
    assert (arrived.require_consent, arrived.erase_expired_consent) == (True, True)
    subject = there.house.records.subject(arrived, "p0")
    assert (subject.consent, subject.renewed_at) == (withdrawn, 1_800_000_000.5)


def test_no_key_and_no_ciphertext_goes_along(filled, there, admin):
    here = filled()
    there.take_in(admin, here.export(admin), here)
    mine, theirs = (d.house.records.collection("staff").id for d in (here, there))
    assert mine != theirs
    keys = [{row.key: row.wrapped_key for row in d.house.rows.read().subjects_page(id, "", 100)}
            for d, id in ((here, mine), (there, theirs))]  # fmt: skip
    assert not keys[0].keys() & keys[1].keys() and not set(keys[0].values()) & set(keys[1].values())


def test_what_it_learned_from_itself_goes_along(filled, there, admin):
    here = filled(people=25)
    here.house.gallery.calibrate(admin, "staff")
    there.take_in(admin, here.export(admin), here)
    assert there.house.gallery.collection(admin, "staff").calibration == "collection"


def test_images_go_along_where_they_are_kept(filled, there, admin, shoot):
    here = filled(keep=Keep.IMAGE)
    there.take_in(admin, here.export(admin), here)
    records = there.house.records
    where = records.collection("staff")
    subject = records.subject(where, "p1")
    assert records.picture(where, subject, records.samples(where, subject)[0].id, Keep.IMAGE) == shoot(1)


def test_the_file_shows_nothing_of_what_is_in_it(filled, admin):
    sent = filled().export(admin)
    for canary in (b"staff", b"nobody yet", b"scripted", "Łódź".encode(), b"contract"):
        assert canary not in sent


def test_it_can_be_given_another_name(filled, there, admin):
    here = filled()
    there.take_in(admin, here.export(admin), here, name="guests")
    assert there.names() == ["guests"]


# ----------------------------------------------------------------------------------------------- what is refused


def test_it_opens_for_its_recipient_alone_and_from_a_trusted_sender_alone(filled, admin):
    here = filled()
    file = io.BytesIO(here.export(admin))
    with pytest.raises(WrongRecipient):
        verify(file, OTHER, [here.keyring.public_key])
    with pytest.raises(UntrustedSender, match=here.keyring.public_key.hex()):
        verify(file, RECIPIENT, [bytes(32)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(data=st.data())
def test_a_file_that_was_changed_or_cut_anywhere_is_refused(exported, data):
    sent, key = exported
    if data.draw(st.booleans()):
        changed = bytearray(sent)
        changed[data.draw(st.integers(0, len(sent) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        sent = bytes(changed)
    else:
        sent = sent[: data.draw(st.integers(0, len(sent) - 1))]
    with pytest.raises(LookalikeError):
        verify(io.BytesIO(sent), RECIPIENT, [key])


@pytest.fixture
def exported(filled, admin):
    here = filled()
    return here.export(admin), here.keyring.public_key


def test_parts_of_two_files_are_refused_together(filled, admin):
    here = filled()
    one, two = here.export(admin), here.export(admin)
    for at in (149, 149 + 92, len(one) - 16):
        with pytest.raises(TamperedData):
            verify(io.BytesIO(one[:at] + two[at:]), RECIPIENT, [here.keyring.public_key])


def test_a_recipient_who_writes_a_file_of_their_own_lacks_the_deployments_signature(filled, there, admin):
    """Who holds the private half could forge the sealed chunks, but not the signature within."""
    here = filled()
    head, found = here.transfers.begin_export(admin, "staff", "x")
    mine, honest = sender_of(there.keyring), sender_of(here.keyring)

    def sign(message: bytes) -> bytes:
        return honest.sign(message) if message.startswith(b"lookalike sealed to") else mine.sign(message)

    forged = b"".join(seal_export(head, found, RECIPIENT.recipient, type(honest)(honest.public_key, sign)))
    with pytest.raises(TamperedData, match="signature"):
        verify(io.BytesIO(forged), RECIPIENT, [here.keyring.public_key])


@pytest.mark.parametrize("wrong", ["id", "vector", "space"])
def test_what_no_deployment_would_have_written_is_refused(filled, admin, wrong):
    here = filled()
    head, found = here.transfers.begin_export(admin, "staff", "x")

    def spoilt():
        for entry in found:
            if wrong == "id" and hasattr(entry, "metadata"):
                yield replace(entry, id="a/b")
            elif wrong == "vector" and hasattr(entry, "vectors"):
                yield replace(entry, vectors={0: entry.vectors[0] * 2})
            else:
                yield entry

    sender = sender_of(here.keyring)
    sent = b"".join(seal_export(head, spoilt(), RECIPIENT.recipient, sender))
    if wrong == "space":
        sent = b"".join(seal_export(replace(head, spaces=()), here.transfers._entries(
            here.house.records.collection("staff")), RECIPIENT.recipient, sender))  # fmt: skip
    with pytest.raises(TamperedData, match="no deployment"):
        verify(io.BytesIO(sent), RECIPIENT, [here.keyring.public_key])


@pytest.mark.parametrize("role", ["viewer", "identifier", "enroller", "operator", "auditor", "privacy"])
def test_only_an_admin_sends_and_takes_in(filled, there, admin, as_role, role):
    here = filled()
    with pytest.raises(PermissionDenied):
        here.export(as_role(role))
    with pytest.raises(PermissionDenied):
        there.take_in(as_role(role), here.export(admin), here)
    assert there.names() == []


def test_a_collection_that_is_not_there_is_not_sent(here, admin):
    with pytest.raises(CollectionNotFound):
        here.export(admin)


# ----------------------------------------------------------------------------------------- once, and after a kill


class Stopped(BaseException):
    pass


def test_an_import_that_is_ended_in_the_middle_is_no_collection_yet_and_goes_on(filled, there, admin, monkeypatch):
    monkeypatch.setattr(exports, "BATCH_SAMPLES", 1)
    here = filled()
    sent = here.export(admin)
    for stop_at in (0, 3, 3, 9):

        def tell(done, total, stop_at=stop_at):
            if done >= stop_at:
                raise Stopped

        with pytest.raises(Stopped):
            there.take_in(admin, sent, here, progress=tell)
        assert there.names() == ["staff.importing"]
    taken = there.take_in(admin, sent, here)
    assert there.names() == ["staff"] and taken.before > 0
    assert people_of(there, admin) == people_of(here, admin)


def test_the_same_export_twice_doubles_nothing(filled, there, admin):
    here = filled()
    sent = here.export(admin)
    there.take_in(admin, sent, here)
    for options in ({}, {"name": "again"}, {"name": "again", "again": True}):
        with pytest.raises(Conflict, match="here already, as 'staff'"):
            there.take_in(admin, sent, here, **options)
    with pytest.raises(Conflict, match="here already, as 'staff'"):
        there.take_in(admin, here.export(admin), here, name="newer")
    assert there.names() == ["staff"]


def test_whom_a_deletion_took_away_comes_back_only_if_that_is_said(filled, there, admin):
    here = filled()
    sent = here.export(admin)
    there.take_in(admin, sent, here)
    there.house.gallery.delete_collection(admin, "staff")
    with pytest.raises(Conflict, match="erased"):
        there.take_in(admin, sent, here)
    there.take_in(admin, sent, here, again=True)
    assert there.names() == ["staff"]


def test_an_export_is_not_taken_in_where_it_comes_from(filled, admin):
    here = filled()
    with pytest.raises(Conflict, match="here already"):
        here.take_in(admin, here.export(admin), here, name="copy")
    assert here.names() == ["staff"]


def test_no_collection_is_overwritten(filled, there, admin):
    here = filled()
    there.house.gallery.create_collection(admin, "staff")
    with pytest.raises(CollectionExists):
        there.take_in(admin, here.export(admin), here)
    assert there.names() == ["staff"]


# ------------------------------------------------------------------------------------------------- another model


def test_a_model_that_is_not_at_hand_is_named_and_nothing_is_made(filled, there, admin):
    here = filled()
    del there.house.models.encoders["scripted"]
    with pytest.raises(ModelNotAvailable, match="'scripted'"):
        there.take_in(admin, here.export(admin), here)
    assert there.names() == []


def test_another_model_embeds_the_kept_pictures(filled, there, admin, shoot):
    here = filled()
    taken = there.take_in(admin, here.export(admin), here, model="turned")
    assert (taken.model, taken.embedded, taken.left_out) == ("turned", 10, 0)
    found = there.house.gallery.identify(admin, "staff", shoot(3, shot=5))
    assert found.faces[0].candidates[0].subject.id == "p3" and found.model == "turned"


def test_samples_without_a_picture_are_left_out_of_another_model(filled, there, admin):
    here = filled(keep=Keep.NONE)
    taken = there.take_in(admin, here.export(admin), here, model="turned")
    assert (taken.subjects, taken.samples, taken.left_out) == (6, 0, 10)


def test_vectors_of_both_generations_go_along_while_a_collection_is_re_indexed(filled, there, admin):
    here = filled(keep=Keep.CROP)
    house = here.house
    indexer = Reindexer(house.records, house.audit, house.rosters, house.models)
    indexer.begin(admin, "staff", model="turned")
    indexer.run(admin, "staff", lambda done, total: None, insist=True)
    taken = there.take_in(admin, here.export(admin), here, model="scripted")
    assert (taken.model, taken.samples, taken.embedded) == ("scripted", 10, 0)


@pytest.mark.parametrize(("model", "marked"), [("scripted", False), ("turned", True)])
def test_a_carried_template_is_still_marked_where_it_arrives(filled, there, admin, model, marked):
    here = filled(keep=Keep.NONE)
    house = here.house
    indexer = Reindexer(house.records, house.audit, house.rosters, house.models)
    where = house.records.collection("staff")
    generation = indexer.begin(admin, "staff", model="turned")
    mapped = house.records.collection("staff").seen_as(generation)
    (batch,) = house.records.stream_samples(where)
    turned = house.models.encoder(mapped.space).encode_crops([b"[1, 0]"] * len(batch)).vectors
    house.records.put_templates(mapped, [(replace(s, carried=True), v) for s, v in zip(batch, turned, strict=True)])

    there.take_in(admin, here.export(admin), here, model=model)
    (arrived,) = there.house.records.stream_samples(there.house.records.collection("staff"))
    assert [sample.carried for sample in arrived] == [marked] * 10


# ------------------------------------------------------------------------------------------------- on record


def test_both_sides_have_it_on_record(filled, there, admin):
    here = filled()
    taken = there.take_in(admin, here.export(admin), here)
    (sent,) = [e for e in here.house.audit.page(0, 1000) if e.action == "collection.export"]
    assert sent.details["recipient"] == RECIPIENT.recipient.fingerprint and sent.details["export"] == taken.export
    begun, done = [e for e in there.house.audit.page(0, 1000) if e.action == "collection.import_sealed"]
    assert begun.details["begun"] == 1 and done.details["export"] == taken.export and done.details["samples"] == 10


def test_a_receipt_names_where_copies_of_the_erased_went(filled, admin, shoot, pictures):
    here = filled()
    here.export(admin)
    gallery = here.house.gallery
    gallery.enrol(admin, "staff", "later", pictures(shoot(50)))
    (export,) = [e.details["export"] for e in here.house.audit.page(0, 1000) if e.action == "collection.export"]
    named = f"{export} to {RECIPIENT.recipient.fingerprint}"
    assert json.loads(gallery.erase_subject(admin, "staff", "p1").body)["exported"] == named
    assert "exported" not in json.loads(gallery.erase_subject(admin, "staff", "later").body)
    assert json.loads(gallery.delete_collection(admin, "staff").body)["exported"] == named
