"""The JSON of imports: what was refused, or enrolled but worth a second look."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, Field

from api.schemas import is_none


class RemarkConflictOut(BaseModel):
    kind: str
    similarity: float
    subject: str | None


class RemarkOut(BaseModel):
    """number: of the picture in its file, from 0; path: how the file names it; reasons: empty if it was enrolled."""

    number: int
    path: str
    subject: str
    reasons: list[str]
    conflict: RemarkConflictOut | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def of(cls, item: Mapping[str, object]) -> RemarkOut:
        return cls.model_validate(dict(item))


class RemarkList(BaseModel):
    items: list[RemarkOut]
    next_cursor: str | None = None
