"""CreateCollection, DescribeCollection, ListCollections and DeleteCollection."""

from __future__ import annotations

import re

from api.errors import InvalidPageToken
from api.rekognition.answers import Json, version_of
from api.rekognition.asked import Asked
from api.rekognition.schemas import Nothing, OfCollection
from lookalike.answers import CollectionInfo
from lookalike.domain import Kind

_TOKEN = re.compile(r"(\d{1,12}\.\d{6})-([0-9a-f]{32})")


def create(asked: Asked, call: OfCollection) -> Json:
    """Tags are not kept."""
    made = asked.services.gallery.create_collection(asked.caller, call.collection_id)
    return {
        "StatusCode": 200,
        "CollectionArn": _arn(asked, call.collection_id),
        "FaceModelVersion": version_of(made.collection.space.model),
    }


def describe(asked: Asked, call: OfCollection) -> Json:
    """Its counts: every sample is a face, every subject that is no single face a user."""
    info = asked.services.gallery.collection(asked.caller, call.collection_id)
    info.collection.require(Kind.FACE)
    return {
        "FaceCount": info.samples,
        "UserCount": asked.services.face_users.count(asked.caller, call.collection_id),
        "FaceModelVersion": version_of(info.collection.space.model),
        "CollectionARN": _arn(asked, call.collection_id),
        "CreationTimestamp": info.collection.created_at,
    }


def listed(asked: Asked, call: Nothing) -> Json:
    """Collections of faces, in the order in which they were made."""
    found = [i for i in asked.services.gallery.collections(asked.caller) if i.collection.kind is Kind.FACE]
    found.sort(key=_place)
    if call.next_token is not None:
        token = _TOKEN.fullmatch(call.next_token)
        if token is None:
            raise InvalidPageToken("NextToken: only one that ListCollections gave is allowed")
        found = [info for info in found if _place(info) > (token[1].zfill(20), token[2])]
    limit = call.max_results or 4096
    shown = found[:limit]
    answer: Json = {
        "CollectionIds": [info.collection.name for info in shown],
        "FaceModelVersions": [version_of(info.collection.space.model) for info in shown],
    }
    if len(found) > limit:
        at, id = _place(shown[-1])
        answer["NextToken"] = f"{at.lstrip('0')}-{id}"
    return answer


def delete(asked: Asked, call: OfCollection) -> Json:
    """Destroys its key, and with it every face."""
    asked.services.gallery.delete_collection(asked.caller, call.collection_id)
    return {"StatusCode": 200}


def _place(info: CollectionInfo) -> tuple[str, str]:
    """Where a collection stands in the list, by what no change of others moves."""
    return f"{info.collection.created_at:020.6f}", info.collection.id


def _arn(asked: Asked, name: str) -> str:
    return f"aws:rekognition:{asked.region}:000000000000:collection/{name}"
