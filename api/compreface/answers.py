"""The service's values as CompreFace's JSON: boxes of whole pixels, similarities from 0 to 1 on the published scale."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import JSONResponse

from api.compreface.bound import Wanted
from api.rekognition.scale import similarity_of
from lookalike.domain import Face, Subject
from lookalike.errors import FaceNotFound
from lookalike.face_marks import FaceRecord, face_id, face_of

Json = dict[str, object]


def similarity(fmr: float) -> float:
    """0 to 1: a hundredth of what Rekognition's calls give."""
    return round(similarity_of(fmr) / 100, 5)


def face(found: Face, wanted: Wanted) -> Json:
    """A face that was seen. Only the plugin `landmarks` is known."""
    box = found.box
    told: Json = {
        "box": {
            "probability": round(found.confidence, 5),
            "x_min": max(0, round(box.x)),
            "y_min": max(0, round(box.y)),
            "x_max": round(box.x + box.width),
            "y_max": round(box.y + box.height),
        }
    }
    if "landmarks" in wanted.face_plugins:
        told["landmarks"] = [[round(x), round(y)] for x, y in found.landmarks]
    return told


def result(faces: Sequence[Json], wanted: Wanted, model: str) -> JSONResponse:
    """Raises: FaceNotFound where no face is left, which CompreFace takes for an error."""
    if not faces:
        raise FaceNotFound("no face was found in the picture")
    answer: Json = {"result": list(faces)}
    if wanted.status:
        answer["plugins_versions"] = plugins(model)
    return JSONResponse(answer)


def plugins(model: str) -> Json:
    """What looked at the picture."""
    return {"detector": "lookalike.Detector", "calculator": model}


def name_of(subject: Subject) -> str:
    """Whom a face stands for: its user, what it was called when it was indexed by itself, or the subject."""
    found = face_of(subject, "0" * 32, 0)
    return found.user or found.external_image_id or subject.id


def example(kept: FaceRecord) -> Json:
    """A face that is kept."""
    return {"image_id": face_id(kept.id), "subject": name_of(kept.subject)}
