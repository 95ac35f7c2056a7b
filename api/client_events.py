"""The client's calls about events: listen to them, and manage the receivers that they are sent to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TypedDict, cast

from api.client_calls import Calls, given, path_of


class EventSubjectJson(TypedDict):
    key: str | None
    id: str | None
    similarity: float | None
    fpir: float | None


class EventJson(TypedDict):
    """type: identification, enrolment, erasure or test."""

    id: str
    seq: int
    type: str
    at: str
    collection: str | None
    principal: str
    request_id: str
    faces: int
    unknown: int
    camera: str | None
    subjects: list[EventSubjectJson]


class WebhookJson(TypedDict):
    """secret: only in what making one answers."""

    id: str
    url: str
    collections: list[str] | None
    events: list[str]
    names: bool
    created_at: str
    created_by: str
    paused: bool
    seq: int
    tries: int
    failing_since: str | None
    error: str | None
    given_up: list[int]


class CreatedWebhookJson(WebhookJson):
    secret: str


class WebhookTriedJson(TypedDict):
    status: int | None
    error: str | None
    took_ms: float


class EventCalls(Calls):
    """A part of the Client."""

    def events(
        self,
        collection: str | None = None,
        *,
        kinds: Iterable[str] = (),
        names: bool = False,
        after: int | None = None,
    ) -> Iterator[EventJson]:
        """Events as they happen, without an end; after a broken connection it goes on where it was.

        kinds: match, unknown, enrolment, erasure. names: tell subjects' ids. after: begin after this number.
        Raises: ClientError once it is refused, or cannot be reached for long.
        """
        once = "true" if self._sender.holds_answers else None
        wanted = given(collection=collection, event=",".join(kinds) or None, names="true" if names else None, once=once)
        reached = after
        while True:
            for data in self._sender.listen(path_of("events"), {**wanted, **given(after=reached)}):
                event = cast(EventJson, json.loads(data))
                reached = event["seq"]
                yield event

    def create_webhook(
        self, url: str, *, collections: Iterable[str] | None = None, kinds: Iterable[str] = (), names: bool = False
    ) -> CreatedWebhookJson:
        """Have events sent to a receiver from now on; the answer holds the secret that signs them, this once."""
        body = {
            "url": url,
            "collections": None if collections is None else list(collections),
            "events": list(kinds),
            "names": names,
        }
        response = self._sender.send("POST", path_of("webhooks"), again=False, json=body)
        return cast(CreatedWebhookJson, response.json())

    def webhooks(self) -> list[WebhookJson]:
        found = cast("dict[str, list[WebhookJson]]", self._read(path_of("webhooks")))
        return found["items"]

    def webhook(self, id: str) -> WebhookJson:
        return cast(WebhookJson, self._read(path_of("webhooks", id)))

    def pause_webhook(self, id: str, paused: bool = True) -> WebhookJson:
        """Send it nothing, or, with paused=False, go on."""
        return cast(WebhookJson, self._write("PATCH", path_of("webhooks", id), {"paused": paused}))

    def replay_webhook(self, id: str, after: int | None = None) -> WebhookJson:
        """Send events again: all after a number, or from the first one that was given up."""
        return cast(WebhookJson, self._write("POST", path_of("webhooks", id, "replay"), {"after": after}))

    def try_webhook(self, id: str) -> WebhookTriedJson:
        """Send it an event of type test now."""
        response = self._sender.send("POST", path_of("webhooks", id, "test"), again=False)
        return cast(WebhookTriedJson, response.json())

    def delete_webhook(self, id: str) -> None:
        self._write("DELETE", path_of("webhooks", id))
