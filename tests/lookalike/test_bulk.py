"""Enrolling very many pictures: what is refused is noted, what is known is joined, and a run goes on anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from lookalike import bulk
from lookalike.bulk import BulkEnroller, Facts, Loaded, Unreadable
from lookalike.domain import Consent
from lookalike.errors import PermissionDenied, StorageFull


@dataclass
class Listed:
    """An item, and how often it was loaded."""

    label: str
    loads: Loaded | str
    loaded: int = 0

    def load(self, max_bytes):
        self.loaded += 1
        if isinstance(self.loads, str):
            raise Unreadable(self.loads, "whose")
        return self.loads


@dataclass
class Notes:
    """What was noted, batch by batch."""

    items: list = field(default_factory=list)

    def append(self, items):
        self.items += [dict(item) for item in items]


class Stopped(BaseException):
    pass


@pytest.fixture
def staff(house, admin):
    """Name and id of an empty collection."""
    house.gallery.create_collection(admin, "staff")
    return "staff", house.records.collection("staff").id


def people(shoot, count: int, **facts) -> list[Listed]:
    return [Listed(f"{n}.jpg", Loaded(f"p{n}", shoot(n), Facts(**facts))) for n in range(count)]


def enrolling(house, admin, staff, notes=None, threads=3) -> BulkEnroller:
    return BulkEnroller(house.gallery, admin, staff, notes or Notes(), max_bytes=1000, threads=threads)


def ignore(done, total):
    pass


def test_every_picture_is_enrolled_and_the_last_checkpoint_says_all(house, admin, staff, shoot):
    told = []
    enrolling(house, admin, staff).run(people(shoot, 40), 0, lambda done, total: told.append((done, total)))
    assert house.records.count(house.records.collection("staff")) == (40, 40)
    assert told[0] == (0, 40) and told[-1] == (40, 40)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_what_is_done_twice_is_there_once(house, admin, staff, shoot):
    items = people(shoot, 10) + people(shoot, 10)
    enrolling(house, admin, staff).run(items, 0, ignore)
    enrolling(house, admin, staff).run(items, 0, ignore)
    assert house.records.count(house.records.collection("staff")) == (10, 10)


def test_what_lies_before_the_checkpoint_is_not_even_read(house, admin, staff, shoot):
    items = people(shoot, 10)
    enrolling(house, admin, staff).run(items, 6, ignore)
    assert [item.loaded for item in items] == [0] * 6 + [1] * 4


def test_a_run_that_is_ended_anywhere_goes_on_from_its_checkpoint(house, admin, staff, shoot, monkeypatch):
    monkeypatch.setattr(bulk, "CHECKPOINT_EVERY_S", 0.0)
    items, notes, checkpoint = people(shoot, 30), Notes(), 0
    items[7] = Listed("bad", "damaged_entry")
    for stop_at in (1, 5, 8, 20, 31):

        def tell(done, total, stop_at=stop_at):
            nonlocal checkpoint
            checkpoint = done
            if done >= stop_at:
                raise Stopped

        if stop_at <= 30:
            with pytest.raises(Stopped):
                enrolling(house, admin, staff, notes).run(items, checkpoint, tell)
        else:
            enrolling(house, admin, staff, notes).run(items, checkpoint, tell)
    assert house.records.count(house.records.collection("staff")) == (29, 29)
    assert {item["number"] for item in notes.items if item["reasons"]} == {7}


def test_what_is_refused_is_noted_with_its_reasons_before_the_checkpoint_passes_it(house, admin, staff, shoot):
    items = [
        Listed("0", Loaded("a", b"no picture")),
        Listed("1", Loaded("b", shoot(1, reasons=("blurred",)))),
        Listed("2", "damaged_entry"),
        Listed("3", Loaded("an/impossible id", shoot(2))),
        Listed("4", Loaded("c", shoot(3), Facts({"k": "v" * 2000}))),
        Listed("5", Loaded("d", shoot())),
        Listed("6", Loaded("e", shoot(4))),
    ]
    notes, noted = Notes(), []
    enrolling(house, admin, staff, notes).run(items, 0, lambda done, _: noted.append((done, len(notes.items))))
    assert [(n["path"], n["subject"], n["reasons"]) for n in notes.items] == [
        ("0", "a", ["unsupported_image"]),
        ("1", "b", ["blurred"]),
        ("2", "whose", ["damaged_entry"]),
        ("3", "an/impossible id", ["invalid_input"]),
        ("4", "c", ["invalid_input"]),
        ("5", "d", ["face_not_found"]),
    ]
    assert noted[-1] == (7, 6)
    assert house.records.count(house.records.collection("staff")) == (1, 1)


def test_one_who_looks_like_another_is_enrolled_and_noted(house, admin, staff, shoot):
    notes = Notes()
    items = [Listed("0", Loaded("ada", shoot(1))), Listed("1", Loaded("bob", shoot(1, shot=1)))]
    enrolling(house, admin, staff, notes, threads=1).run(items, 0, ignore)
    (note,) = notes.items
    assert note["reasons"] == [] and note["conflict"]["subject"] == "ada"


def test_what_is_known_is_joined_to_what_was_known(house, admin, staff, shoot):
    house.gallery.put_subject(admin, "staff", "p0", metadata={"site": "north", "floor": "1"}, valid_from="2020-01-01")
    known = {"metadata": {"site": "south"}, "consent": Consent("contract"), "valid_until": "2030-01-01"}
    enrolling(house, admin, staff).run(people(shoot, 2, **known), 0, ignore)
    subject, samples = house.gallery.subject(admin, "staff", "p0")
    assert subject.metadata == {"site": "south", "floor": "1"} and len(samples) == 1
    assert (subject.consent, subject.valid_from, subject.valid_until) == (
        Consent("contract"),
        "2020-01-01",
        "2030-01-01",
    )
    assert house.gallery.subject(admin, "staff", "p1")[0].metadata == {"site": "south"}


def test_a_full_disk_is_waited_for(house, admin, staff, shoot, monkeypatch):
    monkeypatch.setattr(bulk, "TRY_AGAIN_AFTER_S", 0.01)
    full, plain = [3], house.records.add_samples

    def add_samples(*arguments):
        if full[0]:
            full[0] -= 1
            raise StorageFull("the disk is full")
        return plain(*arguments)

    monkeypatch.setattr(house.records, "add_samples", add_samples)
    enrolling(house, admin, staff, threads=1).run(people(shoot, 5), 0, ignore)
    assert house.records.count(house.records.collection("staff")) == (5, 5)


def test_whoever_may_not_enrol_is_refused_and_nothing_is_enrolled(house, as_role, admin, staff, shoot):
    with pytest.raises(PermissionDenied):
        enrolling(house, as_role("viewer"), staff).run(people(shoot, 5), 0, ignore)
    assert house.records.count(house.records.collection("staff")) == (0, 0)
