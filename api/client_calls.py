"""What every family of the client's calls is made of: reading, writing once, paging, and quoted paths."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from api.client_sending import Sender


class Calls:
    """A part of the Client."""

    _sender: Sender

    def _read(self, path: str, params: Mapping[str, Any] | None = None) -> object:
        return self._sender.send("GET", path, params=params).json()

    def _write(self, method: str, path: str, json: object = None, **sent: Any) -> object:
        """Done once, however often it is sent; None where there is no answer."""
        headers = {"idempotency-key": secrets.token_hex(16)}
        response = self._sender.send(method, path, json=json, headers=headers, **sent)
        return response.json() if response.content else None

    def _pages(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[object]:
        """The items of all pages."""
        cursor: str | None = None
        while True:
            page = self._sender.send("GET", path, params={**(params or {}), **given(cursor=cursor)}).json()
            yield from page["items"]
            cursor = page.get("next_cursor")
            if cursor is None:
                return


def path_of(*segments: str) -> str:
    """/v1/ and the segments, quoted; a segment of dots only is quoted too, or it would be taken for a step up."""
    quoted = (quote(segment, safe="") if segment.strip(".") else segment.replace(".", "%2E") for segment in segments)
    return "/v1/" + "/".join(quoted)


def given(**values: object) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}
