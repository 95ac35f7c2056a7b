"""The console's own scripts, style and icon: a fixed list, held in memory and named by what is in them."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.errors import problem, request_id_of

FOLDER = Path(__file__).parent / "static"
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

router = APIRouter(include_in_schema=False)


@cache
def read_assets() -> dict[str, tuple[bytes, str]]:
    """Bytes and content type of each file by name."""
    return {f.name: (f.read_bytes(), KINDS[f.suffix]) for f in FOLDER.iterdir() if f.suffix in KINDS}


@cache
def address(name: str) -> str:
    """Where a file is; another address once it has changed, so that browsers may keep it for ever.

    What a script imports has no such address, and is asked for each time.
    """
    return f"/console/static/{name}?v={hashlib.sha256(read_assets()[name][0]).hexdigest()[:12]}"


@router.get("/console/static/{name}")
async def read_asset(name: str, request: Request) -> Response:
    """A file of the list. Open to all: the page to sign in needs it."""
    found = read_assets().get(name)
    if found is None:
        return problem("not_found", "there is no such file", request_id_of(request))
    named = request.query_params.get("v")
    headers = {"cache-control": "public, max-age=31536000, immutable" if named else "no-cache"}
    return Response(found[0], headers=headers, media_type=found[1])
