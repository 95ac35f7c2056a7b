"""What Rekognition's calls take, with AWS's names, bounds and defaults. Members that AWS may add later are ignored."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_pascal

from api.errors import InvalidS3Object, NotDeserialised
from lookalike.errors import ImageTooLarge, InvalidInput

MAX_IMAGE_BYTES = 5_242_880
"""Of Bytes, as AWS has it; the service's own calls take larger pictures."""

MAX_BODY_BYTES = 30_000_000
"""Of a call. Two such pictures take half of it; with the rest, a larger one is read, and its refusal heard."""

CollectionId = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9_.\-]+$")]
ExternalId = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9_.\-:]+$")]
UserId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[a-zA-Z0-9_.\-:]+$")]
FaceId = Annotated[str, Field(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]
Percent = Annotated[float, Field(ge=0, le=100)]
Filter = Literal["NONE", "AUTO", "LOW", "MEDIUM", "HIGH"]
Token = Annotated[str, Field(max_length=255)]

MIN_QUALITY: dict[str, float] = {"NONE": 0.0, "LOW": 0.25, "AUTO": 0.5, "MEDIUM": 0.5, "HIGH": 0.75}
"""The quality score, 0 to 1, that a face needs; below 0.5 the service's own calls refuse to enrol it."""


class Call(BaseModel):
    """Any call's input."""

    model_config = ConfigDict(alias_generator=to_pascal, extra="ignore", strict=True)


class S3Object(Call):
    bucket: str | None = None
    name: str | None = None


class Image(Call):
    """data: base64. Buckets are not read."""

    data: Annotated[str | None, Field(alias="Bytes")] = None
    s3_object: S3Object | None = None

    def value(self) -> bytes:
        """The picture. Raises: InvalidS3Object, NotDeserialised, ImageTooLarge, InvalidInput."""
        if self.s3_object is not None and self.data is None:
            raise InvalidS3Object("this service reads no buckets: send the picture as Image.Bytes")
        if self.data is None or self.s3_object is not None:
            raise InvalidInput("Image: exactly Bytes is allowed")
        if len(self.data) > MAX_IMAGE_BYTES * 4 // 3 + 4:
            raise ImageTooLarge(f"Image.Bytes: at most {MAX_IMAGE_BYTES} bytes are allowed")
        try:
            found = base64.b64decode(self.data, validate=True)
        except (binascii.Error, ValueError):
            raise NotDeserialised("Image.Bytes: base64 is allowed") from None
        if len(found) > MAX_IMAGE_BYTES:
            raise ImageTooLarge(f"Image.Bytes: at most {MAX_IMAGE_BYTES} bytes are allowed")
        if not found:
            raise InvalidInput("Image.Bytes: at least one byte is needed")
        return found


class Nothing(Call):
    """A call that takes nothing but its page."""

    max_results: Annotated[int, Field(ge=0, le=4096)] = 4096
    next_token: Token | None = None


class OfCollection(Call):
    collection_id: CollectionId


class IndexFaces(OfCollection):
    image: Image
    external_image_id: ExternalId | None = None
    max_faces: Annotated[int, Field(ge=1)] | None = None
    quality_filter: Filter = "AUTO"


class ListFaces(OfCollection):
    max_results: Annotated[int, Field(ge=0, le=4096)] = 4096
    next_token: Token | None = None
    user_id: UserId | None = None
    face_ids: Annotated[list[FaceId], Field(min_length=1, max_length=4096)] | None = None


class DeleteFaces(OfCollection):
    face_ids: Annotated[list[FaceId], Field(min_length=1, max_length=4096)]


class SearchFaces(OfCollection):
    face_id: FaceId
    max_faces: Annotated[int, Field(ge=1, le=4096)] = 80
    face_match_threshold: Percent = 80.0


class SearchFacesByImage(OfCollection):
    image: Image
    max_faces: Annotated[int, Field(ge=1, le=4096)] = 80
    face_match_threshold: Percent = 80.0
    quality_filter: Filter = "NONE"


class DetectFaces(Call):
    image: Image


class CompareFaces(Call):
    source_image: Image
    target_image: Image
    similarity_threshold: Percent = 80.0
    quality_filter: Filter = "NONE"


class OnceOnly(OfCollection):
    """A write that a token makes safe to repeat."""

    user_id: UserId
    client_request_token: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9\-_]+$")] | None = None


class AssociateFaces(OnceOnly):
    face_ids: Annotated[list[FaceId], Field(min_length=1, max_length=100)]
    user_match_threshold: Percent = 75.0


class DisassociateFaces(OnceOnly):
    face_ids: Annotated[list[FaceId], Field(min_length=1, max_length=100)]


class ListUsers(OfCollection):
    max_results: Annotated[int, Field(ge=1, le=500)] = 500
    next_token: Token | None = None


class SearchUsers(OfCollection):
    user_id: UserId | None = None
    face_id: FaceId | None = None
    max_users: Annotated[int, Field(ge=1, le=500)] = 80
    user_match_threshold: Percent = 80.0


class SearchUsersByImage(OfCollection):
    image: Image
    max_users: Annotated[int, Field(ge=1, le=500)] = 80
    user_match_threshold: Percent = 80.0
    quality_filter: Filter = "NONE"
