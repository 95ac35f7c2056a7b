"""The protocols at which embedder, index and security meet; api/wiring.py joins the implementations.

Two record ports stand one above the other. `Records` speaks in domain values and is what use cases see;
`security/sealed_records.py` implements it by sealing every value and handing ciphertext to `Rows`, which a database in
`index/` implements. Nothing above `Rows` can forget to encrypt, and nothing below it can read.
"""

from __future__ import annotations

from lookalike.ports.encoders import FaceEncoder, ImageEncoder, Models, OpenPicture
from lookalike.ports.indexes import (
    IndexServers,
    IndexState,
    LocalIndex,
    Neighbour,
    RowFile,
    RowFiles,
    SharedIndex,
    VectorIndex,
)
from lookalike.ports.records import AuditLog, Plaintext, Records, Snapshots
from lookalike.ports.rows import (
    AuditProof,
    AuditRow,
    CollectionRow,
    JobRow,
    RowReader,
    Rows,
    RowWriter,
    SampleRow,
    SubjectRow,
    collection_setting,
)

__all__ = [
    "AuditLog",
    "AuditProof",
    "AuditRow",
    "CollectionRow",
    "FaceEncoder",
    "ImageEncoder",
    "IndexServers",
    "IndexState",
    "JobRow",
    "LocalIndex",
    "Models",
    "Neighbour",
    "OpenPicture",
    "Plaintext",
    "Records",
    "RowFile",
    "RowFiles",
    "RowReader",
    "RowWriter",
    "Rows",
    "SampleRow",
    "SharedIndex",
    "Snapshots",
    "SubjectRow",
    "VectorIndex",
    "collection_setting",
]
