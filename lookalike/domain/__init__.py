"""The frozen values that every part of Lookalike speaks in.

Names follow ISO/IEC 2382-37: an enrolled person is a *subject*, an enrolled picture of one a *sample*, a
picture to be searched a *probe*, and a subject returned for it a *candidate*. Similarity is cosine, -1 to 1,
higher is closer, everywhere.
"""

from __future__ import annotations

from lookalike.domain.answers import Candidate, Page, Threshold
from lookalike.domain.collections import (
    COLLECTION_NAME,
    FIRST_GENERATION,
    Collection,
    Generation,
    GenerationState,
    Keep,
    Kind,
    Trial,
    TrialMode,
    collection_name,
)
from lookalike.domain.faces import Box, EncodedFace, Face, Landmarks, Quality
from lookalike.domain.history import AuditEntry, Change, Copy, Ledgered, Op, Receipt
from lookalike.domain.rights import Grant, Permission, Principal
from lookalike.domain.subjects import Consent, NewSample, Sample, Subject, subject_id
from lookalike.domain.vectors import Embeddings, Floats, Labels, Pixels, Space

__all__ = [
    "AuditEntry",
    "Box",
    "COLLECTION_NAME",
    "Candidate",
    "Change",
    "Collection",
    "Consent",
    "Copy",
    "Embeddings",
    "EncodedFace",
    "FIRST_GENERATION",
    "Face",
    "Floats",
    "Generation",
    "GenerationState",
    "Grant",
    "Keep",
    "Kind",
    "Labels",
    "Landmarks",
    "Ledgered",
    "NewSample",
    "Op",
    "Page",
    "Permission",
    "Pixels",
    "Principal",
    "Quality",
    "Receipt",
    "Sample",
    "Space",
    "Subject",
    "Threshold",
    "Trial",
    "TrialMode",
    "collection_name",
    "subject_id",
]
