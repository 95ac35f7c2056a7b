"""Code for Amazon Rekognition, unchanged but for the endpoint: boto3 against the real service over TLS."""

from __future__ import annotations

import io
import secrets
import time
import uuid
from collections.abc import Iterator

import pytest
from PIL import Image

from tests.e2e.aws_clients import Aws, refusal

DEADLINE_S = 60
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def aws(running) -> Iterator[Aws]:
    made = Aws(*running)
    yield made
    made.close()


@pytest.fixture(scope="module")
def rekognition(aws):
    return aws.client()


@pytest.fixture
def collection(rekognition) -> str:
    name = secrets.token_hex(6)
    rekognition.create_collection(CollectionId=name)
    return name


def index(rekognition, collection, picture, name=None, **more):
    """The face records of a picture."""
    more |= {} if name is None else {"ExternalImageId": name}
    return rekognition.index_faces(CollectionId=collection, Image={"Bytes": picture}, **more)["FaceRecords"]


def side_by_side(*pictures: bytes) -> bytes:
    """One picture of several, each 500 pixels high."""
    opened = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures]
    scaled = [picture.resize((round(picture.width * 500 / picture.height), 500)) for picture in opened]
    whole = Image.new("RGB", (sum(picture.width for picture in scaled), 500))
    at = 0
    for picture in scaled:
        whole.paste(picture, (at, 0))
        at += picture.width
    kept = io.BytesIO()
    whole.save(kept, "JPEG", quality=95)
    return kept.getvalue()


# ---------------------------------------------------------------------------------------------- collections


def test_a_collection_is_made_described_listed_and_deleted(rekognition):
    name = f"gate-{secrets.token_hex(4)}"
    made = rekognition.create_collection(CollectionId=name)
    assert made["StatusCode"] == 200 and made["CollectionArn"].endswith(f"eu-central-1:000000000000:collection/{name}")
    told = rekognition.describe_collection(CollectionId=name)
    assert (told["FaceCount"], told["UserCount"]) == (0, 0)
    assert abs(told["CreationTimestamp"].timestamp() - time.time()) < DEADLINE_S
    assert told["FaceModelVersion"] == made["FaceModelVersion"]
    assert name in rekognition.list_collections()["CollectionIds"]
    assert refusal(rekognition.create_collection, CollectionId=name) == "ResourceAlreadyExistsException"
    assert rekognition.delete_collection(CollectionId=name)["StatusCode"] == 200
    assert refusal(rekognition.describe_collection, CollectionId=name) == "ResourceNotFoundException"
    with pytest.raises(rekognition.exceptions.ResourceNotFoundException):
        rekognition.delete_collection(CollectionId=name)


def test_collections_come_in_pages(rekognition):
    names = [secrets.token_hex(6) for _ in range(5)]
    for name in names:
        rekognition.create_collection(CollectionId=name)
    pages = list(rekognition.get_paginator("list_collections").paginate(PaginationConfig={"PageSize": 2}))
    found = [name for page in pages for name in page["CollectionIds"]]
    assert len(pages) > 2 and len(found) == len(set(found)) and set(names) <= set(found)
    assert [name for name in found if name in names] == names
    assert all(len(page["CollectionIds"]) == len(page["FaceModelVersions"]) <= 2 for page in pages)
    assert refusal(rekognition.list_collections, NextToken="made up") == "InvalidPaginationTokenException"


# ---------------------------------------------------------------------------------------------------- faces


def test_a_new_photo_of_somebody_indexed_is_found_and_a_stranger_is_not(rekognition, collection, portraits):
    (kept,) = index(rekognition, collection, portraits["obama.jpg"], "barack.obama:1")
    assert kept["Face"]["ExternalImageId"] == "barack.obama:1" and kept["Face"]["Confidence"] > 80
    found = rekognition.search_faces_by_image(CollectionId=collection, Image={"Bytes": portraits["obama2.jpg"]})
    (match,) = found["FaceMatches"]
    assert match["Face"]["FaceId"] == kept["Face"]["FaceId"] and match["Similarity"] >= 80
    assert match["Face"] == kept["Face"] | {k: pytest.approx(v, abs=1e-3) for k, v in _floats(kept["Face"]).items()}
    stranger = rekognition.search_faces_by_image(CollectionId=collection, Image={"Bytes": portraits["biden.jpg"]})
    assert stranger["FaceMatches"] == []
    anybody = rekognition.search_faces_by_image(
        CollectionId=collection, Image={"Bytes": portraits["biden.jpg"]}, FaceMatchThreshold=0
    )
    assert [m["Face"]["FaceId"] for m in anybody["FaceMatches"]] == [kept["Face"]["FaceId"]]
    assert anybody["FaceMatches"][0]["Similarity"] < 80


def _floats(face):
    return {k: v for k, v in face.items() if isinstance(v, float)}


def test_a_box_and_landmarks_are_shares_of_the_picture(aws, rekognition, collection, portraits):
    picture = portraits["obama.jpg"]
    (kept,) = index(rekognition, collection, picture)
    detail = kept["FaceDetail"]
    (seen,) = rekognition.detect_faces(Image={"Bytes": picture}, Attributes=["ALL"])["FaceDetails"]
    (native,) = aws.native.detect(picture)["faces"]
    width, height = Image.open(io.BytesIO(picture)).size
    assert seen["BoundingBox"] == detail["BoundingBox"]
    assert seen["BoundingBox"]["Left"] * width == pytest.approx(native["box"]["x"], abs=0.01)
    assert seen["BoundingBox"]["Height"] * height == pytest.approx(native["box"]["height"], abs=0.01)
    points = {p["Type"]: (p["X"], p["Y"]) for p in detail["Landmarks"]}
    assert points["nose"][0] * width == pytest.approx(native["landmarks"][2][0], abs=0.01)
    assert points["eyeLeft"][0] < points["nose"][0] < points["eyeRight"][0]
    assert points["eyeLeft"][1] < points["nose"][1] < points["mouthLeft"][1]
    assert all(abs(detail["Pose"][axis]) < 30 for axis in ("Roll", "Yaw", "Pitch"))


def test_every_face_of_a_picture_is_indexed_up_to_max_faces(rekognition, collection, portraits):
    both = side_by_side(portraits["obama.jpg"], portraits["biden.jpg"])
    answer = rekognition.index_faces(CollectionId=collection, Image={"Bytes": both}, MaxFaces=1, ExternalImageId="b")
    (kept,), (left_out,) = answer["FaceRecords"], answer["UnindexedFaces"]
    assert left_out["Reasons"] == ["EXCEEDS_MAX_FACES"]
    first, second = index(rekognition, collection, both, "b")
    assert first["Face"]["FaceId"] == kept["Face"]["FaceId"] != second["Face"]["FaceId"]
    assert first["Face"]["ImageId"] == second["Face"]["ImageId"]
    assert rekognition.describe_collection(CollectionId=collection)["FaceCount"] == 2
    found = [
        rekognition.search_faces_by_image(CollectionId=collection, Image={"Bytes": portraits[picture]})["FaceMatches"]
        for picture in ("obama2.jpg", "biden.jpg")
    ]
    assert {match["Face"]["FaceId"] for (match,) in found} == {first["Face"]["FaceId"], second["Face"]["FaceId"]}


def test_the_same_picture_with_the_same_external_id_is_kept_once(rekognition, collection, portraits):
    once = index(rekognition, collection, portraits["obama.jpg"], "a")
    assert index(rekognition, collection, portraits["obama.jpg"], "a") == once
    other = index(rekognition, collection, portraits["obama.jpg"], "b")
    assert other[0]["Face"]["FaceId"] != once[0]["Face"]["FaceId"]
    assert other[0]["Face"]["ImageId"] == once[0]["Face"]["ImageId"]
    assert rekognition.describe_collection(CollectionId=collection)["FaceCount"] == 2


def test_a_quality_filter_leaves_out_poor_faces_and_says_why(rekognition, collection, portraits):
    small = Image.open(io.BytesIO(portraits["obama.jpg"])).convert("RGB")
    small.thumbnail((110, 110))
    kept = io.BytesIO()
    small.save(kept, "PNG")
    answer = rekognition.index_faces(CollectionId=collection, Image={"Bytes": kept.getvalue()})
    assert answer["FaceRecords"] == []
    assert "SMALL_BOUNDING_BOX" in answer["UnindexedFaces"][0]["Reasons"]
    assert len(index(rekognition, collection, kept.getvalue(), QualityFilter="NONE")) == 1
    search = {"CollectionId": collection, "Image": {"Bytes": kept.getvalue()}}
    assert rekognition.search_faces_by_image(**search)["FaceMatches"]
    assert refusal(rekognition.search_faces_by_image, **search, QualityFilter="AUTO") == "InvalidParameterException"


def test_faces_are_listed_in_pages_in_the_order_in_which_they_came(rekognition, collection, portraits):
    made = [index(rekognition, collection, portraits["obama.jpg"], f"n{i}")[0]["Face"]["FaceId"] for i in range(5)]
    pages = list(
        rekognition.get_paginator("list_faces").paginate(CollectionId=collection, PaginationConfig={"PageSize": 2})
    )
    assert [[face["FaceId"] for face in page["Faces"]] for page in pages] == [made[:2], made[2:4], made[4:]]
    assert [f["ExternalImageId"] for page in pages for f in page["Faces"]] == [f"n{i}" for i in range(5)]
    named = rekognition.list_faces(CollectionId=collection, FaceIds=[made[3], NOBODY, made[1], made[3]])
    assert [face["FaceId"] for face in named["Faces"]] == [made[1], made[3]]
    assert rekognition.list_faces(CollectionId=collection, MaxResults=0)["Faces"]
    token = refusal(rekognition.list_faces, CollectionId=collection, NextToken="-1")
    assert token == "InvalidPaginationTokenException"


def test_deleted_faces_are_found_no_more_and_those_not_there_are_told(rekognition, collection, portraits):
    kept, gone = (index(rekognition, collection, portraits[p])[0]["Face"]["FaceId"] for p in ("obama.jpg", "biden.jpg"))
    done = rekognition.delete_faces(CollectionId=collection, FaceIds=[gone, NOBODY, gone])
    assert done["DeletedFaces"] == [gone]
    assert done["UnsuccessfulFaceDeletions"] == [{"FaceId": NOBODY, "Reasons": ["FACE_NOT_FOUND"]}]
    assert [f["FaceId"] for f in rekognition.list_faces(CollectionId=collection)["Faces"]] == [kept]
    probe = {"CollectionId": collection, "Image": {"Bytes": portraits["biden.jpg"]}}
    assert rekognition.search_faces_by_image(**probe)["FaceMatches"] == []


def test_a_face_that_is_kept_is_searched_and_not_found_as_itself(rekognition, collection, portraits):
    ids = [index(rekognition, collection, portraits[p])[0]["Face"]["FaceId"] for p in ("obama.jpg", "obama3.jpg")]
    stranger = index(rekognition, collection, portraits["biden.jpg"])[0]["Face"]["FaceId"]
    found = rekognition.search_faces(CollectionId=collection, FaceId=ids[0])
    assert found["SearchedFaceId"] == ids[0]
    assert [m["Face"]["FaceId"] for m in found["FaceMatches"]] == [ids[1]]
    everybody = rekognition.search_faces(CollectionId=collection, FaceId=ids[0], FaceMatchThreshold=0)["FaceMatches"]
    assert [m["Face"]["FaceId"] for m in everybody] == [ids[1], stranger]
    assert everybody[0]["Similarity"] > 90 > everybody[1]["Similarity"]
    assert (
        len(
            rekognition.search_faces(CollectionId=collection, FaceId=ids[0], FaceMatchThreshold=0, MaxFaces=1)[
                "FaceMatches"
            ]
        )
        == 1
    )
    unknown = refusal(rekognition.search_faces, CollectionId=collection, FaceId=NOBODY)
    assert unknown == "InvalidParameterException"


def test_one_face_is_compared_with_each_of_another_picture(rekognition, portraits):
    both = side_by_side(portraits["obama2.jpg"], portraits["biden.jpg"])
    found = rekognition.compare_faces(SourceImage={"Bytes": portraits["obama.jpg"]}, TargetImage={"Bytes": both})
    (match,), (other,) = found["FaceMatches"], found["UnmatchedFaces"]
    assert match["Similarity"] >= 80
    assert match["Face"]["BoundingBox"]["Left"] < other["BoundingBox"]["Left"]
    assert found["SourceImageFace"]["Confidence"] > 80
    loose = rekognition.compare_faces(
        SourceImage={"Bytes": portraits["obama.jpg"]}, TargetImage={"Bytes": both}, SimilarityThreshold=0
    )
    assert len(loose["FaceMatches"]) == 2 and loose["UnmatchedFaces"] == []


def test_a_picture_without_a_face_is_an_answer_or_a_refusal_as_with_aws(rekognition, collection):
    plain = io.BytesIO()
    Image.new("RGB", (200, 200), "grey").save(plain, "JPEG")
    image = {"Bytes": plain.getvalue()}
    assert rekognition.detect_faces(Image=image)["FaceDetails"] == []
    assert rekognition.index_faces(CollectionId=collection, Image=image)["FaceRecords"] == []
    for call, more in (
        (rekognition.search_faces_by_image, {"CollectionId": collection, "Image": image}),
        (rekognition.search_users_by_image, {"CollectionId": collection, "Image": image}),
        (rekognition.compare_faces, {"SourceImage": image, "TargetImage": image}),
    ):
        assert refusal(call, **more) == "InvalidParameterException"


# ---------------------------------------------------------------------------------------------------- users


def test_faces_are_given_to_a_user_who_is_then_found(rekognition, collection, portraits):
    for user in ("barack", "joe", "nobody"):
        rekognition.create_user(CollectionId=collection, UserId=user)
    ids = [index(rekognition, collection, portraits[p])[0]["Face"]["FaceId"] for p in ("obama.jpg", "obama3.jpg")]
    stranger = index(rekognition, collection, portraits["biden.jpg"])[0]["Face"]["FaceId"]
    done = rekognition.associate_faces(CollectionId=collection, UserId="barack", FaceIds=[*ids, stranger, NOBODY])
    assert [face["FaceId"] for face in done["AssociatedFaces"]] == ids and done["UserStatus"] == "ACTIVE"
    refused = {face["FaceId"]: face["Reasons"] for face in done["UnsuccessfulFaceAssociations"]}
    assert refused == {stranger: ["LOW_MATCH_CONFIDENCE"], NOBODY: ["FACE_NOT_FOUND"]}
    rekognition.associate_faces(CollectionId=collection, UserId="joe", FaceIds=[stranger])

    told = rekognition.describe_collection(CollectionId=collection)
    assert (told["FaceCount"], told["UserCount"]) == (3, 3)
    users = {user["UserId"]: user["UserStatus"] for user in rekognition.list_users(CollectionId=collection)["Users"]}
    assert users == {"barack": "ACTIVE", "joe": "ACTIVE", "nobody": "CREATED"}
    own = rekognition.list_faces(CollectionId=collection, UserId="barack")["Faces"]
    assert [(face["FaceId"], face["UserId"]) for face in own] == [(id, "barack") for id in ids]

    found = rekognition.search_users_by_image(CollectionId=collection, Image={"Bytes": portraits["obama2.jpg"]})
    assert [match["User"]["UserId"] for match in found["UserMatches"]] == ["barack"]
    assert found["UserMatches"][0]["Similarity"] > 90 and found["SearchedFace"]["FaceDetail"]["Confidence"] > 80
    faces = rekognition.search_faces_by_image(CollectionId=collection, Image={"Bytes": portraits["obama2.jpg"]})
    assert {match["Face"]["UserId"] for match in faces["FaceMatches"]} == {"barack"}
    by_face = rekognition.search_users(CollectionId=collection, FaceId=ids[0])
    assert [match["User"]["UserId"] for match in by_face["UserMatches"]] == ["barack"]
    by_user = rekognition.search_users(CollectionId=collection, UserId="barack", UserMatchThreshold=0)
    assert [match["User"]["UserId"] for match in by_user["UserMatches"]] == ["joe"]
    assert by_user["SearchedUser"] == {"UserId": "barack"}


def test_a_face_belongs_to_one_user_until_it_is_let_go_of(rekognition, collection, portraits):
    for user in ("a", "b"):
        rekognition.create_user(CollectionId=collection, UserId=user)
    (id,) = [record["Face"]["FaceId"] for record in index(rekognition, collection, portraits["obama.jpg"])]
    for _ in range(2):
        done = rekognition.associate_faces(CollectionId=collection, UserId="a", FaceIds=[id])
        assert done["AssociatedFaces"] == [{"FaceId": id}]
    taken = rekognition.associate_faces(CollectionId=collection, UserId="b", FaceIds=[id])
    other = [{"FaceId": id, "UserId": "a", "Reasons": ["ASSOCIATED_TO_A_DIFFERENT_USER"]}]
    assert taken["UnsuccessfulFaceAssociations"] == other
    kept = rekognition.delete_faces(CollectionId=collection, FaceIds=[id])
    assert kept["UnsuccessfulFaceDeletions"][0]["Reasons"] == ["ASSOCIATED_TO_AN_EXISTING_USER"]
    wrong = rekognition.disassociate_faces(CollectionId=collection, UserId="b", FaceIds=[id, NOBODY])
    assert [face["Reasons"] for face in wrong["UnsuccessfulFaceDisassociations"]] == [
        ["ASSOCIATED_TO_A_DIFFERENT_USER"],
        ["FACE_NOT_FOUND"],
    ]
    freed = rekognition.disassociate_faces(CollectionId=collection, UserId="a", FaceIds=[id])
    assert freed["DisassociatedFaces"] == [{"FaceId": id}] and freed["UserStatus"] == "CREATED"
    assert rekognition.associate_faces(CollectionId=collection, UserId="b", FaceIds=[id])["AssociatedFaces"]
    rekognition.delete_user(CollectionId=collection, UserId="b")
    (face,) = rekognition.list_faces(CollectionId=collection)["Faces"]
    assert face["FaceId"] == id and "UserId" not in face
    assert rekognition.delete_faces(CollectionId=collection, FaceIds=[id])["DeletedFaces"] == [id]


def test_users_come_in_pages_and_a_name_is_taken_once(rekognition, collection):
    names = {f"user-{i}" for i in range(5)}
    for name in names:
        rekognition.create_user(CollectionId=collection, UserId=name)
    pages = list(
        rekognition.get_paginator("list_users").paginate(CollectionId=collection, PaginationConfig={"PageSize": 2})
    )
    found = [user["UserId"] for page in pages for user in page["Users"]]
    assert len(pages) == 3 and sorted(found) == sorted(names)
    assert refusal(rekognition.create_user, CollectionId=collection, UserId="user-1") == "ConflictException"
    assert refusal(rekognition.delete_user, CollectionId=collection, UserId="x") == "ResourceNotFoundException"
    assert refusal(rekognition.search_users, CollectionId=collection) == "InvalidParameterException"


def test_a_write_with_the_same_token_is_done_once(rekognition, collection):
    token = uuid.uuid4().hex
    for _ in range(2):
        rekognition.create_user(CollectionId=collection, UserId="a", ClientRequestToken=token)
    other = refusal(rekognition.create_user, CollectionId=collection, UserId="b", ClientRequestToken=token)
    assert other == "IdempotentParameterMismatchException"


def test_people_enrolled_by_the_own_calls_are_users_with_faces(aws, rekognition, collection, portraits):
    aws.native.enrol(collection, "barack", portraits["obama.jpg"])
    found = rekognition.search_faces_by_image(CollectionId=collection, Image={"Bytes": portraits["obama2.jpg"]})
    assert found["FaceMatches"][0]["Face"]["ExternalImageId"] == "barack"
    users = rekognition.search_users_by_image(CollectionId=collection, Image={"Bytes": portraits["obama2.jpg"]})
    assert users["UserMatches"][0]["User"]["UserId"] == "barack"
    (another,) = index(rekognition, collection, portraits["obama3.jpg"])
    id = another["Face"]["FaceId"]
    assert rekognition.associate_faces(CollectionId=collection, UserId="barack", FaceIds=[id])["AssociatedFaces"]
    assert len(rekognition.list_faces(CollectionId=collection, UserId="barack")["Faces"]) == 2
    answer = aws.native.identify(collection, portraits["obama2.jpg"], faces="largest")["faces"][0]["candidates"]
    assert {c["subject"] if c["subject"] != id else c["metadata"]["face.user_id"] for c in answer} == {"barack"}
