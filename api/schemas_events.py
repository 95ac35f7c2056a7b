"""The JSON of events and of the receivers that they are sent to."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from api.schemas import Incoming, moment
from api.webhook_calls import shown_secret
from lookalike.events import Event, EventSubject
from lookalike.webhooks import Delivery, Webhook


class EventSubjectOut(BaseModel):
    """key: stands for the subject in every event; id: null where names are not told, or the subject is gone."""

    key: str | None
    id: str | None
    similarity: float | None
    fpir: float | None

    @classmethod
    def of(cls, subject: EventSubject) -> EventSubjectOut:
        return cls(key=subject.key, id=subject.id, similarity=subject.similarity, fpir=subject.fpir)


class EventOut(BaseModel):
    """type: identification, enrolment, erasure or test; seq: its place among all; unknown: faces that match nobody."""

    id: str
    seq: int
    type: str
    at: str
    collection: str | None
    principal: str
    request_id: str
    faces: int = 0
    unknown: int = 0
    camera: str | None = None
    subjects: list[EventSubjectOut] = []

    @classmethod
    def of(cls, event: Event, id: str) -> EventOut:
        return cls(
            id=id,
            seq=event.seq,
            type=event.type,
            at=moment(event.at),
            collection=event.collection,
            principal=event.principal,
            request_id=event.request_id,
            faces=event.faces,
            unknown=event.unknown,
            camera=event.camera,
            subjects=[EventSubjectOut.of(subject) for subject in event.subjects],
        )


class NewWebhook(Incoming):
    """collections: null for all; events: match, unknown, enrolment, erasure, none for all of them."""

    url: Annotated[str, Field(max_length=2_000)]
    collections: list[str] | None = None
    events: list[str] = Field(default_factory=list)
    names: bool = False


class WebhookOut(BaseModel):
    """seq: the last event that it took; failing_since, error: null while it takes all; given_up: events to replay."""

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

    @classmethod
    def of(cls, webhook: Webhook, delivery: Delivery) -> WebhookOut:
        return cls(
            id=webhook.id,
            url=webhook.url,
            collections=None if webhook.collections is None else list(webhook.collections),
            events=sorted(webhook.kinds),
            names=webhook.names,
            created_at=moment(webhook.created_at),
            created_by=webhook.created_by,
            paused=webhook.paused,
            seq=delivery.seq,
            tries=delivery.tries,
            failing_since=None if delivery.failing_since is None else moment(delivery.failing_since),
            error=delivery.error,
            given_up=list(delivery.given_up),
        )


class CreatedWebhook(WebhookOut):
    """secret: signs each delivery; it is shown this once."""

    secret: str

    @classmethod
    def made(cls, webhook: Webhook, seq: int) -> CreatedWebhook:
        held = WebhookOut.of(webhook, Delivery(seq)).model_dump()
        return cls(**held, secret=shown_secret(webhook.secret))


class WebhookList(BaseModel):
    items: list[WebhookOut]


class WebhookChange(Incoming):
    paused: bool


class WebhookReplay(Incoming):
    """after: all events after this number again; null: those that were given up, and what came after the first."""

    after: Annotated[int, Field(ge=0, le=10**15)] | None = None


class WebhookTried(BaseModel):
    """status: what the receiver answered, null where it did not; error: null where it took the event."""

    status: int | None
    error: str | None
    took_ms: float
