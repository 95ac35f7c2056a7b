"""kill -9 of a process that re-indexes back and forth while it enrols and erases; LOOKALIKE_KILLS says how often."""

from __future__ import annotations

import os
import random

from tests.faults.killing import said_until_killed

KILLS = int(os.environ.get("LOOKALIKE_KILLS", "6"))
SEED = int(os.environ.get("LOOKALIKE_KILL_SEED", "7"))
PEOPLE = 60

WORKER = """
import itertools, os, sys, threading, time
from pathlib import Path
from lookalike.answers import Picture
from lookalike.errors import NoSuchGeneration
from lookalike.reindex import Reindexer
from tests.lookalike.conftest import ScriptedEncoder, caller_with, open_at, photo
from lookalike.domain import Grant

house, first = open_at(Path(sys.argv[1])), int(sys.argv[2])
admin = caller_with(Grant("admin"))
plain = ScriptedEncoder.encode_crops
def slowly(self, crops, **named):
    time.sleep(0.01)
    return plain(self, crops, **named)
ScriptedEncoder.encode_crops = slowly
indexer = Reindexer(house.records, house.audit, house.rosters, house.models, standby_s=0.0)

def enrol():
    for who in itertools.count(first):
        done = house.gallery.enrol(admin, "staff", f"p{who}", [Picture("a", photo(who))])
        os.write(1, f"+{who} {done.samples[0].sample.id}\\n".encode())
        if who % 4 == 3:
            house.gallery.erase_subject(admin, "staff", f"p{who - 1}")
            os.write(1, f"-{who - 1}\\n".encode())
        time.sleep(0.02)

threading.Thread(target=enrol, daemon=True).start()
while True:
    where = house.records.collection("staff")
    if indexer.unfinished(admin, "staff") is None:
        indexer.begin(admin, "staff", model="scripted" if where.space.model == "turned" else "turned")
    indexer.run(admin, "staff", lambda done, total: None)
    os.write(1, b"promoted\\n")
    indexer.retire(admin, "staff")
"""


def test_re_indexing_killed_anywhere_loses_nobody_doubles_nobody_and_brings_nobody_back(
    open_house, tmp_path, admin, shoot, pictures
):
    house = open_house()
    house.gallery.create_collection(admin, "staff")
    expected = {}
    for who in range(PEOPLE):
        done = house.gallery.enrol(admin, "staff", f"p{who}", pictures(shoot(who)))
        expected[who] = done.samples[0].sample.id
    house.close()
    lots, erased, promoted, first = random.Random(SEED), set(), 0, PEOPLE
    for _ in range(KILLS):
        lines = said_until_killed(WORKER, tmp_path, first, enough=1, after_s=lots.uniform(0.0, 0.6))
        for line in lines:
            if line.startswith("+"):
                who, sample = line[1:].split()
                expected[int(who)] = sample
            elif line.startswith("-"):
                erased.add(int(line[1:]))
            else:
                promoted += 1
        # What was in hand when it was killed may be there or not; from then on it stays as it is.
        house = open_house()
        first = check(house, admin, shoot, expected, erased, first)
        house.close()
    assert len(erased) > 0 and (promoted > 0 or KILLS < 5)


def check(house, admin, shoot, expected: dict[int, str], erased: set[int], first: int) -> int:
    """Everybody acknowledged is there once, answers, and is the sample that was named. Returns the next free person."""
    last = max(expected)
    in_hand = {last - 1, last, last + 1}
    where = house.records.collection("staff")
    held = {}
    for batch in house.records.stream_subjects(where):
        for subject in batch:
            assert subject.id not in held
            held[subject.id] = [sample.id for sample in house.records.samples(where, subject)]
    for who, sample in expected.items():
        if who in erased:
            assert f"p{who}" not in held, "an erased subject is back"
        elif f"p{who}" in held or who not in in_hand:
            assert held[f"p{who}"] == [sample]
        else:
            erased.add(who)  # its erasure was done, though not acknowledged any more
    some = random.Random(first).sample(sorted(set(expected) - erased), 12)
    for who in some:
        found = house.gallery.identify(admin, "staff", shoot(who, shot=5)).faces[0].candidates
        assert found[0].subject.id == f"p{who}"
    for who in list(erased)[-4:]:
        found = house.gallery.identify(admin, "staff", shoot(who, shot=5)).faces[0].candidates
        assert f"p{who}" not in [candidate.subject.id for candidate in found]
    assert house.rosters.of(where).samples == house.records.count(where)[1] == sum(len(s) for s in held.values())
    house.audit.verify()
    return (last + 5) // 4 * 4  # past whoever was in hand, and four people are one lot
