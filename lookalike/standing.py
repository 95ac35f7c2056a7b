"""Whether a subject may be recognised at a moment, and whether it is to be kept any longer: rules without I/O.

A date or time is ISO 8601, in UTC where it has no offset. A date alone begins at its first moment and ends with its
last: `valid_until: 2030-12-31` holds through that day. Retention counts from the last time that somebody showed that
the subject is still wanted: its creation, its newest sample, or a renewal. Changes of metadata do not count, since a
nightly synchronisation would keep everybody for ever.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping

from lookalike.domain import Collection, Consent, Subject

DAY_S = 86_400.0


class Standing(enum.StrEnum):
    """How a subject stands. Only GOOD may be a candidate; a legal hold keeps the others and changes nothing of that."""

    GOOD = "good"
    NOT_YET_VALID = "not_yet_valid"
    NO_LONGER_VALID = "no_longer_valid"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    CONSENT_EXPIRED = "consent_expired"
    CONSENT_MISSING = "consent_missing"
    PAST_RETENTION = "past_retention"


def begins(text: str) -> float:
    """The first moment that a date or time means, in seconds since 1970. Raises: ValueError."""
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp()


def ends(text: str) -> float:
    """The moment at which a date or time is over, in seconds since 1970. Raises: ValueError."""
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return begins(text)
    return begins(text) + DAY_S


def consent_standing(collection: Collection, consent: Consent | None, now: float) -> Standing:
    """GOOD, or how the consent stands in the way. An end that cannot be read is taken for past."""
    if consent is None:
        return Standing.CONSENT_MISSING if collection.require_consent else Standing.GOOD
    if consent.withdrawn_at is not None:
        return Standing.CONSENT_WITHDRAWN
    try:
        over = consent.expires_at is not None and ends(consent.expires_at) <= now
    except ValueError:
        over = True
    return Standing.CONSENT_EXPIRED if over else Standing.GOOD


def still_withdrawn(before: Consent | None, given: Consent | None) -> Consent | None:
    """The consent that a subject has once its facts are replaced: what is withdrawn is not forgotten in passing."""
    return before if given is None and before is not None and before.withdrawn_at is not None else given


def kept_until(collection: Collection, subject: Subject, last_enrolled: float) -> float | None:
    """When its time is over, in seconds since 1970; None where the collection sets none.

    last_enrolled: when its newest sample was enrolled, 0 where it has none.
    """
    if collection.retention_days is None:
        return None
    return max(subject.created_at, subject.renewed_at, last_enrolled) + DAY_S * collection.retention_days


def standing(collection: Collection, subject: Subject, last_enrolled: float, now: float) -> Standing:
    """How a subject stands at a moment. last_enrolled: as for `kept_until`, needed where that is not None."""
    if subject.valid_from is not None and now < begins(subject.valid_from):
        return Standing.NOT_YET_VALID
    if subject.valid_until is not None and now >= ends(subject.valid_until):
        return Standing.NO_LONGER_VALID
    end = kept_until(collection, subject, last_enrolled)
    if end is not None and now >= end:
        return Standing.PAST_RETENTION
    return consent_standing(collection, subject.consent, now)


def reason_to_erase(collection: Collection, subject: Subject, last_enrolled: float, now: float) -> Standing | None:
    """Why a subject is to be erased, None while it is to be kept. A legal hold comes before this."""
    end = kept_until(collection, subject, last_enrolled)
    if end is not None and now >= end:
        return Standing.PAST_RETENTION
    consent = consent_standing(collection, subject.consent, now)
    if consent is Standing.CONSENT_WITHDRAWN:
        return consent
    return consent if consent is Standing.CONSENT_EXPIRED and collection.erase_expired_consent else None


def standings(
    collection: Collection, subjects: Mapping[str, Subject], last_enrolled: Mapping[str, float], now: float
) -> dict[str, Standing]:
    """How each of these stands, by key."""
    return {key: standing(collection, subject, last_enrolled.get(key, 0.0), now) for key, subject in subjects.items()}
