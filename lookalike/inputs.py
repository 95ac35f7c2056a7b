"""What callers may say: values checked at the use case's door, each refusal naming what is allowed."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping

from lookalike.domain import Consent
from lookalike.errors import InvalidInput

MAX_METADATA = 64
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 1024
MAX_CONSENT_TEXT = 1024
MAX_CAMERA = 64


def similarity(value: float) -> float:
    """A decision threshold. Raises: InvalidInput unless it is 0 to 1."""
    if not (math.isfinite(value) and 0 <= value <= 1):
        hint = f"; did you mean {value / 100:.2f}?" if math.isfinite(value) and 1 < value <= 100 else ""
        raise InvalidInput(f"threshold: a cosine similarity from 0 to 1 is allowed{hint}")
    return value


def rate(value: float, name: str) -> float:
    """An error rate. Raises: InvalidInput unless it lies between 0 and 1."""
    if not (math.isfinite(value) and 0 < value < 1):
        raise InvalidInput(f"{name}: a rate between 0 and 1 is allowed, such as 0.01 for one false alarm in 100")
    return value


def retention(value: object) -> int | None:
    """Days, or None for no limit. Raises: InvalidInput."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 36_500:
        raise InvalidInput("retention_days: 1 to 36500 days are allowed, or null for no limit")
    return value


def keep_unknown(value: object) -> int | None:
    """Days that unknown faces are kept, or None to keep none. Raises: InvalidInput."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 3_650:
        raise InvalidInput("keep_unknown_days: 1 to 3650 days are allowed, or null to keep no unknown faces")
    return value


def camera(value: str) -> str:
    """A camera's name. Raises: InvalidInput."""
    if not (1 <= len(value) <= MAX_CAMERA and value.isprintable()):
        raise InvalidInput(f"camera: a name of 1 to {MAX_CAMERA} printable characters is allowed")
    return value


def four_eyes(value: object) -> int | None:
    """Days that what waits for two people is kept, or None where one is enough. Raises: InvalidInput."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 90:
        raise InvalidInput("four_eyes_days: 1 to 90 days are allowed, or null where one person is enough")
    return value


def moment(value: str | None, name: str) -> str | None:
    """An ISO 8601 date or time, or None. Raises: InvalidInput."""
    if value is None:
        return None
    try:
        datetime.datetime.fromisoformat(value)
    except ValueError:
        raise InvalidInput(f"{name}: a date or time in ISO 8601 is allowed, such as 2030-12-31") from None
    return value


def consent(value: Consent) -> Consent:
    """The same. Raises: InvalidInput unless it says what it rests on and until when, if not for ever."""
    if not 1 <= len(value.basis) <= MAX_CONSENT_TEXT or len(value.reference) > MAX_CONSENT_TEXT:
        raise InvalidInput(
            f"consent: a basis of 1-{MAX_CONSENT_TEXT} characters is needed, such as consent or contract, and a "
            f"reference of at most {MAX_CONSENT_TEXT} is allowed"
        )
    moment(value.expires_at, "consent.expires_at")
    return value


def metadata(pairs: Mapping[str, str]) -> dict[str, str]:
    """Metadata within bounds. Raises: InvalidInput."""
    if len(pairs) > MAX_METADATA:
        raise InvalidInput(f"metadata: at most {MAX_METADATA} keys are allowed")
    for key, value in pairs.items():
        if not 1 <= len(key) <= MAX_METADATA_KEY or len(value) > MAX_METADATA_VALUE:
            raise InvalidInput(
                f"metadata: keys of 1-{MAX_METADATA_KEY} and values of 0-{MAX_METADATA_VALUE} characters are allowed"
            )
    return dict(pairs)
