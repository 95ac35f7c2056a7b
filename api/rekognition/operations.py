"""The table of Rekognition's operations: the name in X-Amz-Target, what it takes, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from api.rekognition import collections, faces, schemas, users
from api.rekognition.answers import Json
from api.rekognition.asked import Asked

TARGET = "RekognitionService."


@dataclass(frozen=True, slots=True)
class Operation:
    """takes: the input; run: does it, with an input of that shape."""

    takes: type[schemas.Call]
    run: Callable[[Asked, Any], Json]


OPERATIONS: Mapping[str, Operation] = {
    "CreateCollection": Operation(schemas.OfCollection, collections.create),
    "DescribeCollection": Operation(schemas.OfCollection, collections.describe),
    "ListCollections": Operation(schemas.Nothing, collections.listed),
    "DeleteCollection": Operation(schemas.OfCollection, collections.delete),
    "IndexFaces": Operation(schemas.IndexFaces, faces.index),
    "ListFaces": Operation(schemas.ListFaces, faces.listed),
    "DeleteFaces": Operation(schemas.DeleteFaces, faces.delete),
    "SearchFaces": Operation(schemas.SearchFaces, faces.search),
    "SearchFacesByImage": Operation(schemas.SearchFacesByImage, faces.search_by_image),
    "DetectFaces": Operation(schemas.DetectFaces, faces.detect),
    "CompareFaces": Operation(schemas.CompareFaces, faces.compare),
    "CreateUser": Operation(schemas.OnceOnly, users.create),
    "DeleteUser": Operation(schemas.OnceOnly, users.delete),
    "ListUsers": Operation(schemas.ListUsers, users.listed),
    "AssociateFaces": Operation(schemas.AssociateFaces, users.associate),
    "DisassociateFaces": Operation(schemas.DisassociateFaces, users.disassociate),
    "SearchUsers": Operation(schemas.SearchUsers, users.search),
    "SearchUsersByImage": Operation(schemas.SearchUsersByImage, users.search_by_image),
}
