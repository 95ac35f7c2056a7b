"""Rotating a collection's key: everything goes on opening, the old version opens nothing, and an end is an end."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lookalike.answers import Caller
from lookalike.domain import Grant, Keep, Subject
from lookalike.errors import CollectionNotFound, LegalHold, PermissionDenied, TamperedData
from lookalike.four_eyes import Pending
from lookalike.holds import Hold
from lookalike.ports import Rows, RowWriter, collection_setting
from security import rotation as rotation_module
from security.audit import SealedAuditLog
from security.collection_keys import DUE, since
from security.envelope import seal
from security.file_heads import rewrap_heads
from security.holds import SealedHolds
from security.key_wrap import wrapping_key_id
from security.keys import KeyRing, open_key_ring
from security.ledger_copy import Ledger
from security.rbac import principal_for
from security.rotation import KeyRotation
from security.sealed_adoption import SealedAdoption
from security.sealed_faces import SealedFaceRecords
from security.sealed_pending import SealedPending
from security.sealed_probe_days import SealedProbeDays
from security.sealed_records import SealedRecords
from security.sealed_retention import SealedRetention
from security.sealed_snapshots import SealedSnapshots
from security.sealed_unknowns import SealedUnknowns
from tests.security.conftest import ENTRY, Clock, new_collection, new_sample
from tests.security.test_sealed_probe_days import counts
from tests.security.test_sealed_snapshots import read
from tests.security.test_sealed_unknowns import seen

ADMIN = Caller(principal_for("local:0", [Grant("admin")]), "request-1")


def asking() -> Caller:
    """An admin with a request of its own, as each job is one."""
    return Caller(ADMIN.principal, secrets.token_hex(8))


PEOPLE = ("anna", "ben", "carla", "dora", "emil")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation_module, "SETTLE_S", 0.0)
    monkeypatch.setattr(rotation_module, "PAGE", 2)


@pytest.fixture
def rotation(rows: Rows, keyring: KeyRing, audit: SealedAuditLog, clock: Clock) -> KeyRotation:
    return KeyRotation(rows, keyring, audit, Ledger(rows, keyring, audit), clock=clock)


@pytest.fixture
def people(records: SealedRecords, collection) -> list:
    for name in PEOPLE:
        records.add_samples(collection, name, [new_sample(crop=b"a crop")], ENTRY)
    return sorted(PEOPLE)


def run(rotation: KeyRotation, clock: Clock, collection=None, told: Callable[[int, int], None] = lambda *_: None):
    clock.now += 60.0
    which = (collection.name, collection.id) if collection is not None else None
    return rotation.run(asking(), which, told)


def row_of(rows: Rows, collection):
    return next(row for row in rows.read().collections() if row.id == collection.id)


def names(records: SealedRecords, collection) -> list[str]:
    return sorted(subject.id for page in records.stream_subjects(collection) for subject in page)


def another_process(rows: Rows, tmp_path: Path, clock: Clock) -> tuple[KeyRing, SealedRecords]:
    ring = open_key_ring("file:keys/root.key", tmp_path, rows)
    return ring, SealedRecords(rows, ring, SealedAuditLog(rows, ring, clock), clock)


# --------------------------------------------------------------------------------------------- what it does


def test_holds_and_what_is_remembered_of_retention_go_along(
    rows, keyring, audit, records, collection, people, rotation, clock
):
    holds, looks = SealedHolds(rows, keyring, audit), SealedRetention(rows, keyring)
    held = [Hold("0" * 16, None, "file 7", "key:dpo", 1.0), Hold("1" * 16, "anna", "file 8", "key:dpo", 2.0)]
    for hold in held:
        holds.put(collection, hold, ENTRY)
    looks.change(collection, lambda state: replace(state, owed=True))

    run(rotation, clock)

    assert holds.holds(collection) == held and looks.state(collection).owed
    with pytest.raises(LegalHold):
        records.erase_subject(collection, "anna", ENTRY)


def test_faces_indexed_while_the_key_is_rotated_are_wrapped_by_the_newest(
    rows, keyring, audit, collection, rotation, clock
):
    """The rotation begins between the sealing of a face and its transaction."""
    faces = SealedFaceRecords(rows, keyring, audit, clock)
    stale = another_ring(rows, keyring, collection)
    run(rotation, clock)
    faces._keyring._collections[collection.id] = stale

    faces.add_subjects(collection, [(Subject("", "face", {}), new_sample())], ENTRY)

    newest = keyring.keys_in(row_of(rows, collection)).newest.id
    assert [wrapping_key_id(row.wrapped_key) for row in rows.read().subjects_page(collection.id, "", 9)] == [newest]


def another_ring(rows, keyring, collection):
    """What a process has in memory of a collection's keys."""
    keyring.collection_keys(collection.id)
    return keyring._collections[collection.id]


def test_everything_opens_after_a_rotation_and_in_a_fresh_process(
    rows, records, collection, people, rotation, clock, tmp_path
):
    records.put_calibration(collection, "{}", ENTRY)
    vectors = {s.id: s.vector for page in records.stream_samples(collection) for s in page}

    assert run(rotation, clock) == {"collections": 1, "subjects": 5}

    for each in (records, another_process(rows, tmp_path, clock)[1]):
        found = each.collection(collection.name)
        assert names(each, found) == people
        assert each.calibration(found) == "{}"
        assert all(np.array_equal(vectors[s.id], s.vector) for page in each.stream_samples(found) for s in page)
        anna = each.subject(found, "anna")
        assert each.picture(found, anna, each.samples(found, anna)[0].id, Keep.CROP) == b"a crop"


def test_subjects_keys_are_wrapped_anew_and_records_are_not_touched(rows, collection, people, rotation, clock):
    before = rows.read().subjects_page(collection.id, "", 100)
    samples = rows.read().samples_page(collection.id, 0, 100)

    run(rotation, clock)

    after = rows.read().subjects_page(collection.id, "", 100)
    assert rows.read().samples_page(collection.id, 0, 100) == samples
    assert [replace(row, wrapped_key=b"") for row in after] == [replace(row, wrapped_key=b"") for row in before]
    assert {wrapping_key_id(row.wrapped_key) for row in after}.isdisjoint(
        {wrapping_key_id(r.wrapped_key) for r in before}
    )


def test_the_old_version_is_gone_and_the_status_says_so(rows, keyring, collection, people, rotation, clock):
    old = keyring.collection_keys(collection.id).newest.id

    run(rotation, clock)

    (found,) = rotation.status(ADMIN).collections
    assert [(v.version, v.subjects) for v in found.versions] == [(2, 5)]
    assert found.versions[0].made_at == clock.now
    assert (found.minimum, found.strays, found.unfinished, found.due_since) == (2, 0, False, None)
    assert old not in keyring.keys_in(row_of(rows, collection)).by_id


def test_what_a_collection_keeps_beside_its_records_goes_along(
    rows, keyring, audit, records, collection, rotation, clock
):
    watching = records.change_collection(collection, lambda c: replace(c, keep_unknown_days=7), ENTRY)
    unknowns, days = SealedUnknowns(rows, keyring, audit), SealedProbeDays(rows, keyring, audit)
    found = seen(1, 2)
    unknowns.change(watching, found, 0, None)
    days.add(watching, "0" * 16, {"2026-03-01": counts(2)})
    SealedAdoption(rows, keyring, audit).note_export(watching, "e" * 32, "f" * 32, clock.now + 60, ENTRY)

    asked = records.change_collection(watching, lambda c: replace(c, four_eyes_days=7), ENTRY)
    pending, row = SealedPending(rows, keyring, audit), Pending("a" * 32, clock.now, 7, "key:searcher", ())
    pending.put(asked, [row], {row.id: b"a face"}, ENTRY)

    run(rotation, clock)

    assert pending.rows(asked) == [row] and pending.face(asked, row.id) == b"a face"
    assert {row.id for row in unknowns.rows(watching)[1]} == set(found.put)
    assert {id: unknowns.crop(watching, id) for id in found.crops} == dict(found.crops)
    assert days.days(watching, "0" * 16, "")["2026-03-01"].pictures == 2
    assert "e" * 32 in records.delete_collection(watching, ENTRY).body


def test_a_sealed_setting_that_is_not_known_keeps_the_old_version(
    rows, keyring, records, collection, people, rotation, clock
):
    strange = seal(
        keyring.collection_keys(collection.id).newest, b"x", keyring.context("new", collection=collection.id)
    )
    rows.write(lambda tx: tx.put_setting(collection_setting(collection.id, "news/1"), strange))

    with pytest.raises(TamperedData, match="newer one"):
        run(rotation, clock)

    assert len(rotation.status(ADMIN).collections[0].versions) == 2
    assert names(records, collection) == people


def test_a_snapshot_of_before_opens_after_its_head_was_wrapped_anew(rows, keyring, audit, collection, clock, tmp_path):
    snapshots = SealedSnapshots(tmp_path / "snapshots", keyring)
    snapshots.save(collection, [b"derived data"])

    def files() -> int:
        return rewrap_heads(keyring, (tmp_path / "snapshots").glob("*"))

    rotation = KeyRotation(rows, keyring, audit, Ledger(rows, keyring, audit), files, clock)

    run(rotation, clock)

    assert read(snapshots, collection) == b"derived data"


def test_a_snapshot_put_back_from_before_the_rotation_is_not_used(rows, keyring, collection, rotation, clock, tmp_path):
    snapshots = SealedSnapshots(tmp_path / "snapshots", keyring)
    snapshots.save(collection, [b"derived data"])

    run(rotation, clock)

    assert read(snapshots, collection) is None


def test_all_collections_are_rotated_or_the_one_that_is_named(rows, records, collection, rotation, clock):
    other = new_collection("staff")
    records.create_collection(other, ENTRY)

    run(rotation, clock, other)
    assert {c.collection: c.minimum for c in rotation.status(ADMIN).collections} == {"visitors": 1, "staff": 2}
    run(rotation, clock)
    assert {c.collection: c.minimum for c in rotation.status(ADMIN).collections} == {"visitors": 2, "staff": 3}


def test_it_is_on_record_with_its_versions(audit, collection, rotation, clock):
    run(rotation, clock, collection)

    mine = [entry for entry in audit.page(0, 100) if entry.action == "keys.rotate"]
    assert [(e.outcome, e.collection, dict(e.details)) for e in mine] == [
        ("ok", "visitors", {"version": 2, "begun": 1}),
        ("ok", "visitors", {"version": 2, "destroyed": "1"}),
    ]


def test_only_who_manages_keys_may(rotation, collection, audit):
    operator = Caller(principal_for("key:1", [Grant("operator")]), "request-2")
    with pytest.raises(PermissionDenied):
        rotation.run(operator, None, lambda *_: None)
    with pytest.raises(PermissionDenied):
        rotation.status(operator)
    assert [e.outcome for e in audit.page(0, 100) if e.principal == "key:1"] == ["denied", "denied"]


def test_an_admin_of_one_collection_sees_and_rotates_that_one_alone(records, collection, rotation, clock):
    records.create_collection(new_collection("staff"), ENTRY)
    admin = Caller(principal_for("key:1", [Grant("admin", "staff")]), "request-2")

    found = rotation.status(admin)
    assert [c.collection for c in found.collections] == ["staff"]
    assert (found.root.shown, rotation.status(ADMIN).root.shown) == ("file:", "file:keys/root.key")
    with pytest.raises(PermissionDenied):
        rotation.run(admin, None, lambda *_: None)


# ------------------------------------------------------------------------------------------ while serving


shared_by_threads = pytest.mark.parametrize(
    "rows", ["sqlite", pytest.param("postgresql", marks=pytest.mark.service)], indirect=True
)


@shared_by_threads
def test_writes_and_reads_go_on_while_keys_are_rotated_again_and_again(
    rows, records, collection, people, rotation, clock, tmp_path
):
    """Two processes write and read while a third rotates; every acknowledged person is there at the end."""
    failures: list[BaseException] = []
    added: list[str] = []
    ended = threading.Event()

    def work(number: int, mine: SealedRecords) -> None:
        turn = 0
        try:
            while not ended.is_set():
                turn += 1
                name = f"p{number}-{turn}"
                mine.add_samples(collection, name, [new_sample()], ENTRY)
                added.append(name)
                mine.put_subject(
                    collection, replace(mine.subject(collection, "anna"), metadata={"n": str(turn)}), ENTRY
                )
                mine.collection(collection.name)
                names(mine, collection)
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(number, another_process(rows, tmp_path, clock)[1])) for number in range(2)
    ]
    rotation_module.SETTLE_S = 3.0  # longer than a thread is held up on a busy machine
    for thread in threads:
        thread.start()
    for _ in range(2):
        run(rotation, clock)
    ended.set()
    for thread in threads:
        thread.join()

    assert not failures
    assert names(records, records.collection(collection.name)) == sorted([*people, *added])
    (found,) = rotation.status(ADMIN).collections
    assert [(v.version, v.subjects) for v in found.versions] == [(3, len(people) + len(added))]


def test_a_process_with_the_old_version_in_memory_takes_up_the_new_one(
    rows, records, collection, people, rotation, clock, tmp_path
):
    ring, other = another_process(rows, tmp_path, clock)
    assert names(other, collection) == people

    run(rotation, clock)

    assert names(other, collection) == people
    other.add_samples(collection, "frieda", [new_sample()], ENTRY)
    assert "frieda" in names(records, collection)
    assert [v.number for v in ring.collection_keys(collection.id).versions] == [2]


def test_a_new_person_wrapped_by_the_old_key_is_wrapped_again_before_the_write(
    rows, records, collection, people, rotation, clock, tmp_path
):
    ring, other = another_process(rows, tmp_path, clock)
    stale = ring.collection_keys(collection.id)
    run(rotation, clock)
    ring._collections[collection.id] = (b"", stale)

    other.put_subject(collection, replace(records.subject(collection, "anna"), id="frieda", key=""), ENTRY)

    assert "frieda" in names(records, collection)
    assert rotation.status(ADMIN).collections[0].strays == 0


def test_the_old_key_is_kept_while_something_is_written_under_it(
    rows, keyring, collection, people, rotation, clock, monkeypatch
):
    """A process of an earlier release does not look whether its key is the newest."""
    old = keyring.collection_keys(collection.id)
    template = rows.read().subjects_page(collection.id, "", 1)[0]
    turns = iter(range(100))

    def heads() -> None:
        if next(turns) == 0:
            key = "f" * 32
            _, wrapped = keyring.new_subject_key(collection.id, key)
            plain = keyring.subject_key(collection.id, key, wrapped)
            wrapped = old.wrappers[old.newest.id].wrap(
                plain, keyring.context("subject-key", collection=collection.id, subject=key)
            )
            late = replace(template, key=key, lookup=b"late", wrapped_key=wrapped)
            rows.write(lambda tx: tx.put_subject(late))

    rotation._heads = heads
    run(rotation, clock)

    (found,) = rotation.status(ADMIN).collections
    assert [(v.version, v.subjects) for v in found.versions] == [(2, 6)]
    assert next(turns) == 2


# -------------------------------------------------------------------------------------- ended in the middle


class Killed(BaseException):
    """Stands for kill -9: nothing after it is done."""


class Fragile:
    """Rows whose process is killed just before, or just after, its n-th write."""

    def __init__(self, rows: Rows, dies_at: int, after: bool) -> None:
        self._rows, self._dies_at, self._after, self.writes = rows, dies_at, after, 0

    def write(self, work: Callable[[RowWriter], object]) -> object:
        self.writes += 1
        if self.writes == self._dies_at and not self._after:
            raise Killed
        result = self._rows.write(work)
        if self.writes == self._dies_at:
            raise Killed
        return result

    def __getattr__(self, name: str) -> object:
        return getattr(self._rows, name)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_write_everything_opens_and_the_next_rotation_ends_it(
    rows, records, collection, people, rotation, clock, tmp_path, after
):
    records.put_calibration(collection, "{}", ENTRY)
    for dies_at in range(1, 40):
        ring, _ = another_process(rows, tmp_path, clock)
        fragile = Fragile(rows, dies_at, after)
        log = SealedAuditLog(fragile, ring, clock)
        try:
            run(KeyRotation(fragile, ring, log, Ledger(fragile, ring, log), clock=clock), clock, collection)
        except Killed:
            _, survivor = another_process(rows, tmp_path, clock)
            assert names(survivor, survivor.collection(collection.name)) == people
            assert survivor.calibration(collection) == "{}"
            run(rotation, clock)
            (found,) = rotation.status(ADMIN).collections
            assert (len(found.versions), found.strays) == (1, 0)
        else:
            break
    assert 5 < dies_at < 39
    assert names(records, collection) == people


def test_a_job_that_begins_again_rotates_nothing_twice(rotation, records, collection, people, clock):
    records.create_collection(new_collection("staff"), ENTRY)

    assert rotation.run(ADMIN, None, lambda *_: None)["collections"] == 2
    assert rotation.run(ADMIN, None, lambda *_: None)["collections"] == 0
    assert {c.minimum for c in rotation.status(ADMIN).collections} == {2}


@shared_by_threads
def test_two_rotations_at_once_help_each_other(rows, records, collection, people, clock, tmp_path):
    def one() -> KeyRotation:
        ring, _ = another_process(rows, tmp_path, clock)
        log = SealedAuditLog(rows, ring, clock)
        return KeyRotation(rows, ring, log, Ledger(rows, ring, log), clock=clock)

    clock.now += 60
    failures: list[BaseException] = []

    def rotate(mine: KeyRotation) -> None:
        try:
            mine.run(ADMIN, (collection.name, collection.id), lambda *_: None)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=rotate, args=(one(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failures
    (found,) = one().status(ADMIN).collections
    assert [(v.version, v.subjects) for v in found.versions] == [(2, 5)]
    assert names(records, records.collection(collection.name)) == people


def test_a_collection_deleted_in_the_middle_ends_its_rotation(records, collection, people, rotation, clock):
    rotation._heads = lambda: records.delete_collection(collection, ENTRY)
    with pytest.raises(CollectionNotFound):
        run(rotation, clock, collection)


# ----------------------------------------------------------------------------------------------- the attacks


def put_back(rows: Rows, *, row=None, subjects=(), settings=()) -> None:
    def write(tx: RowWriter) -> None:
        if row is not None:
            tx.put_collection(row)
        for name, value in settings:
            tx.put_setting(name, value)
        for subject in subjects:
            tx.put_subject(subject)

    rows.write(write)


def test_a_subject_s_row_of_before_the_rotation_is_refused(
    rows, records, collection, people, rotation, clock, tmp_path
):
    before = rows.read().subjects_page(collection.id, "", 100)
    run(rotation, clock)

    put_back(rows, subjects=before)

    for each in (records, another_process(rows, tmp_path, clock)[1]):
        with pytest.raises(TamperedData, match="has no longer"):
            names(each, collection)
    assert rotation.status(ADMIN).collections[0].strays == 5


def test_the_collection_s_row_of_before_is_refused_with_all_its_subjects(
    rows, records, collection, people, rotation, clock, tmp_path
):
    row, subjects = row_of(rows, collection), rows.read().subjects_page(collection.id, "", 100)
    run(rotation, clock)

    put_back(rows, row=row, subjects=subjects)

    for each in (records, another_process(rows, tmp_path, clock)[1]):
        with pytest.raises(TamperedData, match="an old row was put back"):
            each.collection(collection.name)


def test_the_row_with_two_versions_of_the_middle_of_a_rotation_is_refused(
    rows, records, collection, people, rotation, clock, tmp_path
):
    middle = []
    rotation._heads = lambda: middle.append(row_of(rows, collection))
    run(rotation, clock)

    put_back(rows, row=middle[0])

    with pytest.raises(TamperedData, match="an old row was put back"):
        another_process(rows, tmp_path, clock)[1].collection(collection.name)


def test_with_the_least_version_put_back_too_the_ledger_outside_refuses_it(
    rows, keyring, audit, records, collection, people, clock, tmp_path
):
    outside = tmp_path / "ledger"
    outside.mkdir()
    history = collection_setting(collection.id, "key")
    ledger = Ledger(rows, keyring, audit, outside)
    rotation = KeyRotation(rows, keyring, audit, ledger, clock=clock)
    run(rotation, clock)
    row, subjects = row_of(rows, collection), rows.read().subjects_page(collection.id, "", 100)
    held = rows.read().get_setting(history)
    run(rotation, clock)

    put_back(rows, row=row, subjects=subjects, settings=[(history, held)])

    with pytest.raises(TamperedData, match="an old row was put back"):
        records.collection(collection.name)  # this process was there
    ring, other = another_process(rows, tmp_path, clock)
    Ledger(rows, ring, SealedAuditLog(rows, ring, clock), outside).require_current()
    with pytest.raises(TamperedData, match="an old row was put back"):
        other.collection(collection.name)


def test_a_replica_that_followed_refuses_it_with_the_least_version_put_back_too_and_no_ledger(
    rows, collection, people, rotation, clock, tmp_path
):
    history = collection_setting(collection.id, "key")
    run(rotation, clock)
    row, held = row_of(rows, collection), rows.read().get_setting(history)
    ring, replica = another_process(rows, tmp_path, clock)
    log = SealedAuditLog(rows, ring, clock)
    run(rotation, clock)
    KeyRotation(rows, ring, log, Ledger(rows, ring, log), clock=clock).follow()

    put_back(rows, row=row, settings=[(history, held)])

    with pytest.raises(TamperedData, match="an old row was put back"):
        replica.collection(collection.name)


def test_wrapped_keys_swapped_between_subjects_or_collections_are_refused_and_stop_a_rotation(
    rows, records, collection, people, rotation, clock
):
    other = new_collection("staff")
    records.create_collection(other, ENTRY)
    records.add_samples(other, "zoe", [new_sample()], ENTRY)
    one, two = rows.read().subjects_page(collection.id, "", 2)
    (foreign,) = rows.read().subjects_page(other.id, "", 1)

    for wrapped in (two.wrapped_key, foreign.wrapped_key, one.wrapped_key[:-1] + b"\0", one.wrapped_key[:40]):
        put_back(rows, subjects=[replace(one, wrapped_key=wrapped)])
        with pytest.raises(TamperedData):
            names(records, collection)
        with pytest.raises(TamperedData, match="1 subjects"):
            run(rotation, clock, collection)
        put_back(rows, subjects=[one])

    assert len(rotation.status(ADMIN).collections[1].versions) == 2
    run(rotation, clock, collection)
    assert names(records, collection) == people


def test_one_collection_that_does_not_open_keeps_no_other_from_its_rotation(
    rows, records, people, collection, clock, rotation
):
    other = new_collection("staff")
    records.create_collection(other, ENTRY)
    row = row_of(rows, collection)
    put_back(rows, row=replace(row, wrapped_key=row.wrapped_key[:-1] + b"\0"))

    with pytest.raises(TamperedData):
        run(rotation, clock)
    rotation.follow()

    assert [v.number for v in rotation._keyring.reread(other.id).versions] == [2]


def test_a_collection_s_wrapped_key_in_another_s_row_is_refused(rows, records, collection, rotation, clock, tmp_path):
    other = new_collection("staff")
    records.create_collection(other, ENTRY)
    run(rotation, clock)

    put_back(rows, row=replace(row_of(rows, other), wrapped_key=row_of(rows, collection).wrapped_key))

    with pytest.raises(TamperedData):
        another_process(rows, tmp_path, clock)[1].collection(other.name)


# --------------------------------------------------------------------------------------------- after erasures


def test_an_erasure_makes_a_rotation_due_and_the_rotation_ends_that(rows, records, collection, people, rotation, clock):
    assert rotation.due(0.0) == []

    records.erase_subject(collection, "anna", ENTRY)
    at = clock.now
    clock.now += 3600
    records.erase_subject(collection, "ben", ENTRY)

    assert rotation.status(ADMIN).collections[0].due_since == at
    assert rotation.due(3600.5) == []
    assert rotation.due(3600.0) == [(collection.name, collection.id)]
    clock.now += 1
    assert rotation.run(asking(), (collection.name, collection.id), lambda *_: None, due=True)["collections"] == 1
    assert rotation.due(0.0) == []
    assert rotation.run(asking(), (collection.name, collection.id), lambda *_: None, due=True)["collections"] == 0


def test_an_erased_person_s_wrapped_key_of_before_opens_with_nothing_that_is_left(
    rows, records, keyring, collection, people, rotation, clock
):
    lookup = records._sealer.subject_lookup(collection, "anna")
    row = rows.read().subject_by_lookup(collection.id, lookup)
    records.erase_subject(collection, "anna", ENTRY)
    assert keyring.subject_key(collection.id, row.key, row.wrapped_key)  # the wrapped key alone would open it

    run(rotation, clock, collection)

    with pytest.raises(TamperedData):
        keyring.subject_key(collection.id, row.key, row.wrapped_key)


def test_an_erasure_in_the_middle_of_a_rotation_is_due_after_it(rows, records, collection, people, rotation, clock):
    rotation._heads = lambda: (
        records.erase_subject(collection, "anna", ENTRY) if "anna" in names(records, collection) else None
    )
    run(rotation, clock, collection)
    assert rotation.due(0.0) == [(collection.name, collection.id)]


def test_a_rotation_that_was_left_unfinished_is_due_after_a_while(rotation, collection, people, clock):
    def die() -> None:
        raise Killed

    rotation._heads = die
    with pytest.raises(Killed):
        run(rotation, clock, collection)
    assert rotation.due(0.0) == []
    clock.now += rotation_module.UNFINISHED_S
    assert rotation.due(1e9) == [(collection.name, collection.id)]


def test_nothing_is_due_of_a_collection_that_is_gone(rows, records, collection, people, rotation):
    records.erase_subject(collection, "anna", ENTRY)
    records.delete_collection(collection, ENTRY)
    assert since(rows.read(), DUE) == {} and rotation.due(0.0) == []
