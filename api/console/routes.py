"""All pages of the console, in one list."""

from __future__ import annotations

from api.console import (
    account,
    assets,
    collections,
    enrolment,
    identification,
    keys,
    oidc,
    overview,
    pending,
    subjects,
    thresholds,
    unknowns,
)
from api.console.pages import missing, read_look

ROUTERS = (
    assets.router,
    account.door,
    account.inside,
    oidc.door,
    overview.pages,
    collections.pages,
    subjects.pages,
    enrolment.pages,
    identification.pages,
    thresholds.pages,
    pending.pages,
    unknowns.pages,
    keys.pages,
    missing,
)

__all__ = ["ROUTERS", "read_look"]
