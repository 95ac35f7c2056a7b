"""CreateUser, DeleteUser, ListUsers, AssociateFaces, DisassociateFaces, SearchUsers and SearchUsersByImage."""

from __future__ import annotations

import re

from api.errors import InvalidPageToken
from api.rekognition.answers import USER_ID, Json, face_detail, version_of
from api.rekognition.asked import Asked
from api.rekognition.faces import NO_FACE
from api.rekognition.scale import fmr_of, similarity_of
from api.rekognition.schemas import (
    MIN_QUALITY,
    AssociateFaces,
    DisassociateFaces,
    ListUsers,
    OnceOnly,
    SearchUsers,
    SearchUsersByImage,
)
from embedder.images import upright_size
from lookalike.errors import FaceNotFound, InvalidInput
from lookalike.face_marks import face_id
from lookalike.face_users import Association, UserMatch
from lookalike.faces import MAX_CANDIDATES, sample_id

_KEY = re.compile(r"[0-9a-f]{32}")


def create(asked: Asked, call: OnceOnly) -> Json:
    """A subject without a sample."""
    asked.services.face_users.create(asked.caller, call.collection_id, call.user_id)
    return {}


def delete(asked: Asked, call: OnceOnly) -> Json:
    """Its faces stay, and belong to nobody."""
    asked.services.face_users.delete(asked.caller, call.collection_id, call.user_id)
    return {}


def listed(asked: Asked, call: ListUsers) -> Json:
    """Subjects whose ids AWS could not have are left out."""
    if call.next_token is not None and not _KEY.fullmatch(call.next_token):
        raise InvalidPageToken("NextToken: only one that ListUsers gave is allowed")
    users, after = asked.services.face_users.page(
        asked.caller, call.collection_id, call.max_results, call.next_token or ""
    )
    answer: Json = {
        "Users": [
            {"UserId": user.id, "UserStatus": "ACTIVE" if has_faces else "CREATED"}
            for user, has_faces in users
            if USER_ID.fullmatch(user.id)
        ]
    }
    if after is not None:
        answer["NextToken"] = after
    return answer


def associate(asked: Asked, call: AssociateFaces) -> Json:
    """Give faces to a user."""
    done = asked.services.face_users.associate(
        asked.caller,
        call.collection_id,
        call.user_id,
        [sample_id(id) for id in call.face_ids],
        fmr=fmr_of(call.user_match_threshold),
    )
    return {
        "AssociatedFaces": [{"FaceId": face_id(found.id)} for found in done if found.refused is None],
        "UnsuccessfulFaceAssociations": [_refused(found) for found in done if found.refused is not None],
        "UserStatus": "ACTIVE",
    }


def disassociate(asked: Asked, call: DisassociateFaces) -> Json:
    """Take faces from a user."""
    done, left = asked.services.face_users.disassociate(
        asked.caller, call.collection_id, call.user_id, [sample_id(id) for id in call.face_ids]
    )
    return {
        "DisassociatedFaces": [{"FaceId": face_id(found.id)} for found in done if found.refused is None],
        "UnsuccessfulFaceDisassociations": [_refused(found) for found in done if found.refused is not None],
        "UserStatus": "ACTIVE" if left else "CREATED",
    }


def _refused(found: Association) -> Json:
    told: Json = {"FaceId": face_id(found.id), "Reasons": [str(found.refused).upper()]}
    if found.user is not None and USER_ID.fullmatch(found.user):
        told["UserId"] = found.user
    if found.fmr is not None:
        told["Confidence"] = similarity_of(found.fmr)
    return told


def search(asked: Asked, call: SearchUsers) -> Json:
    """Users like a user or a face."""
    if (call.user_id is None) == (call.face_id is None):
        raise InvalidInput("exactly one of UserId and FaceId is allowed")
    found = asked.services.face_users.search(
        asked.caller,
        call.collection_id,
        limit=min(call.max_users, MAX_CANDIDATES),
        fmr=fmr_of(call.user_match_threshold),
        user=call.user_id,
        face=None if call.face_id is None else sample_id(call.face_id),
    )
    searched: Json = (
        {"SearchedUser": {"UserId": call.user_id}}
        if call.user_id is not None
        else {"SearchedFace": {"FaceId": call.face_id}}
    )
    return {"UserMatches": _matches(found.matches), "FaceModelVersion": version_of(found.space.model), **searched}


def search_by_image(asked: Asked, call: SearchUsersByImage) -> Json:
    """Users like the largest face of a picture."""
    image = call.image.value()
    found = asked.services.face_users.search(
        asked.caller,
        call.collection_id,
        limit=min(call.max_users, MAX_CANDIDATES),
        fmr=fmr_of(call.user_match_threshold),
        image=image,
        min_quality=MIN_QUALITY[call.quality_filter],
    )
    if found.searched is None:
        raise FaceNotFound(NO_FACE)
    size = upright_size(image)
    return {
        "UserMatches": _matches(found.matches),
        "FaceModelVersion": version_of(found.space.model),
        "SearchedFace": {"FaceDetail": face_detail(found.searched, size)},
        "UnsearchedFaces": [
            {"FaceDetails": face_detail(face, size), "Reasons": ["FACE_NOT_LARGEST"]} for face in found.others
        ],
    }


def _matches(matches: tuple[UserMatch, ...]) -> list[Json]:
    return [
        {"Similarity": similarity_of(match.fmr), "User": {"UserId": match.subject.id, "UserStatus": "ACTIVE"}}
        for match in matches
        if USER_ID.fullmatch(match.subject.id)
    ]
