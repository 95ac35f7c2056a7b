"""kill -9 of a process that counts probes, at random moments; LOOKALIKE_KILLS says how many times (10 if not set)."""

from __future__ import annotations

import os
import random

from index.sqlite_rows import SqliteRows
from security.audit import SealedAuditLog
from security.keys import open_key_ring
from security.sealed_probe_days import SealedProbeDays
from security.sealed_records import SealedRecords
from tests.faults.killing import said_until_killed

KILLS = int(os.environ.get("LOOKALIKE_KILLS", "10"))
SPACE = "0123456789abcdef"

COUNTER = """
import os, sys
from pathlib import Path
from index.sqlite_rows import SqliteRows
from lookalike.domain import AuditEntry, Collection, Kind, Space
from lookalike.errors import CollectionExists
from lookalike.probe_counts import Counts
from security.audit import SealedAuditLog
from security.keys import open_key_ring
from security.sealed_probe_days import SealedProbeDays
from security.sealed_records import SealedRecords

folder = Path(sys.argv[1])
rows = SqliteRows(folder / "records.db")
keyring = open_key_ring("file:keys/root.key", folder, rows)
audit = SealedAuditLog(rows, keyring)
records = SealedRecords(rows, keyring, audit)
try:
    made = Collection("0" * 32, "staff", Kind.FACE, Space("m", 4, "p"))
    records.create_collection(made, AuditEntry("test", "-", "ok", "-"))
except CollectionExists:
    pass
where, days = records.collection("staff"), SealedProbeDays(rows, keyring, audit)
while True:
    minute = Counts.none()
    for _ in range(7):
        minute.add("refused", 0.0, 2)
    days.add(where, sys.argv[2], {"2026-03-01": minute})
    os.write(1, b"kept\\n")
"""


def test_a_counter_killed_at_random_moments_loses_nothing_it_handed_over_and_doubles_nothing(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    before = 0
    for _ in range(KILLS):
        kept = len(said_until_killed(COUNTER, folder, SPACE, enough=random.randint(1, 40)))

        rows = SqliteRows(folder / "records.db")
        keyring = open_key_ring("file:keys/root.key", folder, rows)
        audit = SealedAuditLog(rows, keyring)
        where = SealedRecords(rows, keyring, audit).collection("staff")
        pictures = SealedProbeDays(rows, keyring, audit).days(where, SPACE, "")["2026-03-01"].pictures
        rows.close()

        # One handing-over may be done without having been acknowledged any more; none is ever half done.
        assert pictures % 7 == 0
        assert before + kept <= pictures // 7 <= before + kept + 1
        before = pictures // 7
