"""IndexFaces, ListFaces, DeleteFaces, SearchFaces, SearchFacesByImage, DetectFaces and CompareFaces."""

from __future__ import annotations

from api.errors import InvalidPageToken
from api.rekognition.answers import (
    USER_ID,
    Json,
    bounding_box,
    face_detail,
    face_match,
    kept_face,
    reasons,
    version_of,
)
from api.rekognition.asked import Asked
from api.rekognition.scale import fmr_of, similarity_of
from api.rekognition.schemas import (
    MIN_QUALITY,
    CompareFaces,
    DeleteFaces,
    DetectFaces,
    IndexFaces,
    ListFaces,
    SearchFaces,
    SearchFacesByImage,
)
from embedder.images import upright_size
from lookalike.domain import Face
from lookalike.errors import FaceNotFound
from lookalike.face_marks import face_id, face_of
from lookalike.faces import MAX_CANDIDATES, FaceMatch, sample_id, shares

NO_FACE = "There are no faces in the image. Should be at least 1."


def index(asked: Asked, call: IndexFaces) -> Json:
    """Every face of the picture becomes one that is kept."""
    done = asked.services.faces.index(
        asked.caller,
        call.collection_id,
        call.image.value(),
        upright_size,
        external_image_id=call.external_image_id,
        max_faces=call.max_faces,
        min_quality=MIN_QUALITY[call.quality_filter],
    )
    return {
        "FaceRecords": [
            {"Face": kept_face(kept, done.space.model), "FaceDetail": face_detail(face, done.size)}
            for kept, face in done.indexed
        ],
        "UnindexedFaces": [
            {"Reasons": reasons(why), "FaceDetail": face_detail(face, done.size)} for face, why in done.unindexed
        ],
        "FaceModelVersion": version_of(done.space.model),
    }


def listed(asked: Asked, call: ListFaces) -> Json:
    """In the order in which they came; a page's token is the last number of it."""
    page = asked.services.faces.page(
        asked.caller,
        call.collection_id,
        call.max_results or 4096,
        _number(call.next_token),
        user=call.user_id,
        ids=None if call.face_ids is None else [sample_id(id) for id in call.face_ids],
    )
    answer: Json = {
        "Faces": [kept_face(face, page.space.model) for face in page.faces],
        "FaceModelVersion": version_of(page.space.model),
    }
    if page.next_number is not None:
        answer["NextToken"] = str(page.next_number)
    return answer


def _number(token: str | None) -> int:
    if token is None:
        return 0
    if not (token.isascii() and token.isdigit() and len(token) <= 18):
        raise InvalidPageToken("NextToken: only one that ListFaces gave is allowed")
    return int(token)


def delete(asked: Asked, call: DeleteFaces) -> Json:
    """Faces that belong to a user stay, as with AWS: they are disassociated first."""
    done = asked.services.faces.delete(asked.caller, call.collection_id, [sample_id(id) for id in call.face_ids])
    failed: list[Json] = []
    for id, face, erased in done:
        if erased:
            continue
        why = "FACE_NOT_FOUND" if face is None else "ASSOCIATED_TO_AN_EXISTING_USER"
        user = {} if face is None or face.user is None or not USER_ID.fullmatch(face.user) else {"UserId": face.user}
        failed.append({"FaceId": face_id(id), "Reasons": [why], **user})
    return {
        "DeletedFaces": [face_id(id) for id, _, erased in done if erased],
        "UnsuccessfulFaceDeletions": failed,
    }


def search(asked: Asked, call: SearchFaces) -> Json:
    """Faces like one that is kept, which itself is left out."""
    matches, space = asked.services.faces.search(
        asked.caller,
        call.collection_id,
        sample_id(call.face_id),
        limit=call.max_faces,
        fmr=fmr_of(call.face_match_threshold),
    )
    return {
        "SearchedFaceId": call.face_id,
        "FaceMatches": [face_match(match, space.model) for match in matches],
        "FaceModelVersion": version_of(space.model),
    }


def search_by_image(asked: Asked, call: SearchFacesByImage) -> Json:
    """Faces like the largest one of a picture: an identify like any other."""
    image = call.image.value()
    found = asked.services.gallery.identify(
        asked.caller,
        call.collection_id,
        image,
        limit=min(call.max_faces, MAX_CANDIDATES),
        largest_only=True,
        fmr=fmr_of(call.face_match_threshold),
    )
    seen = found.faces[0]
    require_quality(seen.face, call.quality_filter)
    matches = [FaceMatch(face_of(c.subject, c.sample_id, 0), c.fmr or 0.0) for c in seen.candidates]
    return {
        "SearchedFaceBoundingBox": bounding_box(shares(seen.face.box, upright_size(image))),
        "SearchedFaceConfidence": 100 * seen.face.confidence,
        "FaceMatches": [face_match(match, found.model) for match in matches],
        "FaceModelVersion": version_of(found.model),
    }


def require_quality(face: Face, wanted: str) -> None:
    """Raises: FaceNotFound."""
    if face.quality.score < MIN_QUALITY[wanted]:
        raise FaceNotFound(f"{NO_FACE} The largest one is below the QualityFilter {wanted}.")


def detect(asked: Asked, call: DetectFaces) -> Json:
    """Attributes are those that are measured, whichever are asked for: no age, gender or emotion is guessed."""
    image = call.image.value()
    faces = asked.services.gallery.detect(asked.caller, image)
    return {"FaceDetails": [face_detail(face, upright_size(image)) for face in faces]}


def compare(asked: Asked, call: CompareFaces) -> Json:
    """The largest face of the source beside each of the target."""
    source, target = call.source_image.value(), call.target_image.value()
    first, found = asked.services.faces.compare(asked.caller, source, target, fmr_of(call.similarity_threshold))
    require_quality(first, call.quality_filter)
    looked_at = [f for f in found if f.face.quality.score >= MIN_QUALITY[call.quality_filter]]
    if not looked_at:
        raise FaceNotFound(NO_FACE)
    size = upright_size(target)
    return {
        "SourceImageFace": {
            "BoundingBox": bounding_box(shares(first.box, upright_size(source))),
            "Confidence": 100 * first.confidence,
        },
        "FaceMatches": [
            {"Similarity": similarity_of(f.fmr), "Face": face_detail(f.face, size)} for f in looked_at if f.match
        ],
        "UnmatchedFaces": [face_detail(f.face, size) for f in looked_at if not f.match],
    }
