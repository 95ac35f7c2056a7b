"""kill -9 of a process that keeps unknown faces, at random moments; LOOKALIKE_KILLS says how many (10 if not set)."""

from __future__ import annotations

import os
import random

from index.sqlite_rows import SqliteRows
from lookalike.ports import collection_setting
from security.audit import SealedAuditLog
from security.keys import open_key_ring
from security.sealed_records import SealedRecords
from security.sealed_unknowns import SealedUnknowns
from tests.faults.killing import said_until_killed

KILLS = int(os.environ.get("LOOKALIKE_KILLS", "10"))

KEEPER = """
import os, sys
from pathlib import Path
import numpy as np
from index.sqlite_rows import SqliteRows
from lookalike.domain import AuditEntry, Box, Collection, Kind, Quality, Space
from lookalike.errors import CollectionExists
from lookalike.unknown_groups import Bars, Groups, Sighting
from security.audit import SealedAuditLog
from security.keys import open_key_ring
from security.sealed_records import SealedRecords
from security.sealed_unknowns import SealedUnknowns

folder = Path(sys.argv[1])
rows = SqliteRows(folder / "records.db")
keyring = open_key_ring("file:keys/root.key", folder, rows)
audit = SealedAuditLog(rows, keyring)
records = SealedRecords(rows, keyring, audit)
try:
    made = Collection("0" * 32, "gate", Kind.FACE, Space("m", 8, "p"), keep_unknown_days=9)
    records.create_collection(made, AuditEntry("test", "-", "ok", "-"))
except CollectionExists:
    pass
where, store = records.collection("gate"), SealedUnknowns(rows, keyring, audit)
rng = np.random.default_rng()
while True:
    version, held = store.rows(where)
    seen = []
    for vector in rng.standard_normal((7, 8)).astype(np.float32):
        quality = Quality(float(rng.random()))
        seen.append(Sighting(Box(0, 0, 9, 9), quality, vector / np.linalg.norm(vector), 1.0, b"crop"))
    store.change(where, Groups(where.space.key, held).take(seen, Bars(0.6, 0.6)), version, None)
    os.write(1, b"kept\\n")
"""


def test_a_keeper_killed_at_random_moments_loses_no_stored_sighting_and_leaves_no_crop_behind(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    before = 0
    for _ in range(KILLS):
        kept = len(said_until_killed(KEEPER, folder, enough=random.randint(1, 20)))

        rows = SqliteRows(folder / "records.db")
        keyring = open_key_ring("file:keys/root.key", folder, rows)
        audit = SealedAuditLog(rows, keyring)
        where = SealedRecords(rows, keyring, audit).collection("gate")
        _, found = SealedUnknowns(rows, keyring, audit).rows(where)
        prefix = collection_setting(where.id, "unknown-crops/")
        crops = {name.removeprefix(prefix) for name in rows.read().settings(prefix)}
        rows.close()

        # One storing may be done without having been acknowledged any more; none is ever half done.
        sightings = sum(row.seen for row in found)
        assert sightings % 7 == 0
        assert before + kept <= sightings // 7 <= before + kept + 1
        assert crops == {face.id for row in found for face in row.faces}
        before = sightings // 7
