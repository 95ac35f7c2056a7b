"""The service's values as Rekognition's JSON. What is not known is left out, which every shape of AWS's allows."""

from __future__ import annotations

import hashlib
import math
import re

from api.rekognition.scale import similarity_of
from lookalike.domain import Box, Face
from lookalike.face_marks import FaceRecord, face_id
from lookalike.faces import FaceMatch, shares

Json = dict[str, object]
Size = tuple[float, float]

EXTERNAL_ID = re.compile(r"[a-zA-Z0-9_.\-:]{1,255}")
USER_ID = re.compile(r"[a-zA-Z0-9_.\-:]{1,128}")

_LANDMARKS = ("eyeLeft", "eyeRight", "nose", "mouthLeft", "mouthRight")

REASONS = {
    "too_small": "SMALL_BOUNDING_BOX",
    "blurred": "LOW_SHARPNESS",
    "too_dark": "LOW_BRIGHTNESS",
    "too_bright": "LOW_FACE_QUALITY",
    "cut_off": "LOW_FACE_QUALITY",
    "extreme_pose": "EXTREME_POSE",
    "exceeds_max_faces": "EXCEEDS_MAX_FACES",
    "low_quality": "LOW_FACE_QUALITY",
}


def version_of(model: str) -> str:
    """A number that stands for a model: AWS's versions are of digits and dots, and change with the model too."""
    return f"1.{int(hashlib.sha256(model.encode()).hexdigest()[:8], 16)}"


def bounding_box(box: Box) -> Json:
    """A box in shares of the picture."""
    return {"Left": box.x, "Top": box.y, "Width": box.width, "Height": box.height}


def reasons(words: tuple[str, ...]) -> list[str]:
    """The service's reasons under AWS's names, each once."""
    return list(dict.fromkeys(REASONS[word] for word in words))


def kept_face(face: FaceRecord, model: str) -> Json:
    """A Face. Ids that AWS could not have are left out."""
    found: Json = {
        "FaceId": face_id(face.id),
        "ImageId": face.image_id,
        "IndexFacesModelVersion": version_of(model),
    }
    if face.box is not None:
        found["BoundingBox"] = bounding_box(face.box)
    if face.confidence is not None:
        found["Confidence"] = 100 * face.confidence
    if face.external_image_id is not None and EXTERNAL_ID.fullmatch(face.external_image_id):
        found["ExternalImageId"] = face.external_image_id
    if face.user is not None and USER_ID.fullmatch(face.user):
        found["UserId"] = face.user
    return found


def face_match(match: FaceMatch, model: str) -> Json:
    """A FaceMatch."""
    return {"Similarity": similarity_of(match.fmr), "Face": kept_face(match.face, model)}


def face_detail(face: Face, size: Size) -> Json:
    """A FaceDetail, as a ComparedFace has it too. size: of the picture, upright."""
    width, height = size
    found: Json = {
        "BoundingBox": bounding_box(shares(face.box, size)),
        "Confidence": 100 * face.confidence,
        "Landmarks": [
            {"Type": name, "X": x / width, "Y": y / height}
            for name, (x, y) in zip(_LANDMARKS, face.landmarks, strict=True)
        ],
        "Pose": pose(face),
    }
    measures = face.quality.measures
    if "brightness" in measures and "sharpness" in measures:
        found["Quality"] = {
            "Brightness": min(100.0, measures["brightness"] / 2.55),
            "Sharpness": min(100.0, measures["sharpness"]),
        }
    return found


def pose(face: Face) -> Json:
    """How the head is turned, in degrees, as far as five points tell.

    The roll is the eyes' own. The nose's tip stands out by about half the distance of the eyes and lies from the front
    0.57 of the way from them to the mouth (as embedder/quality.py measured); where it is seen instead gives the rest.
    """
    left, right, nose, mouth_left, mouth_right = face.landmarks
    across = (right[0] - left[0], right[1] - left[1])
    eyes = ((left[0] + right[0]) / 2, (left[1] + right[1]) / 2)
    down = ((mouth_left[0] + mouth_right[0]) / 2 - eyes[0], (mouth_left[1] + mouth_right[1]) / 2 - eyes[1])
    to_nose = (nose[0] - eyes[0], nose[1] - eyes[1])
    sideways = _share(to_nose, across)
    below = _share(to_nose, down)
    return {
        "Roll": math.degrees(math.atan2(across[1], across[0])),
        "Yaw": math.degrees(math.atan(sideways / 0.5)),
        "Pitch": math.degrees(math.atan((0.57 - below) / 0.5)),
    }


def _share(vector: tuple[float, float], along: tuple[float, float]) -> float:
    length = along[0] ** 2 + along[1] ** 2
    return (vector[0] * along[0] + vector[1] * along[1]) / length if length > 1e-9 else 0.0
