"""The client's calls about keeping people: retention, consent, legal holds, corrections, access requests."""

from __future__ import annotations

import json
from typing import Final, NotRequired, TypedDict, cast

from api.client_calls import Calls, given, path_of
from api.client_shapes import ConsentJson, JobJson, ReceiptJson, SampleJson, SubjectJson

_UNSET: Final = object()


class DueJson(TypedDict):
    subject: str
    why: str
    since: NotRequired[str]


class RetentionJson(TypedDict):
    """would_erase: the first thousand of whom the next job erases; waits_for: why it waits to be confirmed."""

    collection: str
    retention_days: int | None
    require_consent: bool
    erase_expired_consent: bool
    four_eyes_days: int | None
    subjects: int
    due: dict[str, int]
    held: int
    flagged: dict[str, int]
    next_at: str | None
    waits_for: str | None
    last_run_at: str | None
    last_erased: int
    would_erase: list[DueJson]


class WithdrawalJson(TypedDict):
    """kept: where a legal hold keeps the record."""

    erased: bool
    receipt: NotRequired[ReceiptJson]
    kept: NotRequired[SubjectJson]


class HoldJson(TypedDict):
    """subject: None for one on the whole collection."""

    id: str
    subject: str | None
    reason: str
    by: str
    since: str


class PrivacyCalls(Calls):
    """A part of the Client."""

    def retention(self, collection: str) -> RetentionJson:
        """The rules, and who would be erased by them now."""
        return cast(RetentionJson, self._read(_of(collection, "retention")))

    def set_retention(
        self,
        collection: str,
        *,
        retention_days: int | object | None = _UNSET,
        require_consent: bool | None = None,
        erase_expired_consent: bool | None = None,
        four_eyes_days: int | object | None = _UNSET,
    ) -> RetentionJson:
        """Change what is given; `retention_days=None` is for ever, with `four_eyes_days=None` one person is enough."""
        body = given(require_consent=require_consent, erase_expired_consent=erase_expired_consent)
        if retention_days is not _UNSET:
            body["retention_days"] = retention_days
        if four_eyes_days is not _UNSET:
            body["four_eyes_days"] = four_eyes_days
        return cast(RetentionJson, self._write("PATCH", _of(collection, "retention"), body))

    def run_retention(self, collection: str, *, confirm: bool = False) -> JobJson:
        """Erase whoever is past the rules now, as a job: see `wait`. confirm: their number has been seen."""
        return cast(JobJson, self._write("POST", _of(collection, "retention", "run"), {"confirm": confirm}))

    def retention_receipts(self, collection: str) -> list[ReceiptJson]:
        """The signed receipts of whom the rules erased, oldest first."""
        lines = self._sender.send("GET", _of(collection, "retention", "receipts")).text.splitlines()
        return [cast(ReceiptJson, json.loads(line)) for line in lines]

    def renew(self, collection: str, subject: str) -> SubjectJson:
        """Say that a subject is still to be kept: its retention time begins anew."""
        return cast(SubjectJson, self._write("POST", _of(collection, "subjects", subject, "renew")))

    def give_consent(self, collection: str, subject: str, consent: ConsentJson) -> SubjectJson:
        """Write down a consent in the place of the one before; all else stays as it is."""
        return cast(SubjectJson, self._write("PUT", _of(collection, "subjects", subject, "consent"), consent))

    def withdraw_consent(self, collection: str, subject: str) -> WithdrawalJson:
        """The subject takes consent back, and is erased unless a legal hold keeps the record."""
        return cast(WithdrawalJson, self._write("DELETE", _of(collection, "subjects", subject, "consent")))

    def set_hold(self, collection: str, subject: str | None, reason: str) -> HoldJson:
        """Hold a subject, or with None all of the collection: nothing is erased or overwritten until it is lifted."""
        body = {"reason": reason} if subject is None else {"reason": reason, "subject": subject}
        return cast(HoldJson, self._write("POST", _of(collection, "holds"), body))

    def holds(self, collection: str) -> list[HoldJson]:
        """Those that are on, oldest first."""
        return cast("list[HoldJson]", list(self._pages(_of(collection, "holds"))))

    def lift_hold(self, collection: str, id: str, reason: str) -> None:
        """Take one hold away; others that are on stay on."""
        self._write("POST", _of(collection, "holds", id, "lift"), {"reason": reason})

    def export_subject(self, collection: str, subject: str) -> bytes:
        """All that is kept of a subject, for an access request: a zip."""
        return self._sender.send("GET", _of(collection, "subjects", subject, "export")).content

    def rename(self, collection: str, subject: str, new_id: str) -> SubjectJson:
        """Give a subject another id; its samples, facts and times stay."""
        return cast(SubjectJson, self._write("POST", _of(collection, "subjects", subject, "rename"), {"id": new_id}))

    def move_sample(self, collection: str, subject: str, sample: str, to: str) -> SampleJson:
        """Make a sample that was enrolled under the wrong subject the right one's, old or new."""
        path = _of(collection, "subjects", subject, "samples", sample, "move")
        return cast(SampleJson, self._write("POST", path, {"subject": to}))


def _of(collection: str, *segments: str) -> str:
    return path_of("collections", collection, *segments)
