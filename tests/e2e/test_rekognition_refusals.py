"""What Rekognition's calls refuse: hostile signatures, rights that are lacking, and input that is out of bounds."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import get_current_datetime
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.e2e.aws_clients import Aws, refusal

DEADLINE_S = 60
NOBODY = "00000000-0000-4000-8000-000000000000"
CONTENT = "application/x-amz-json-1.1"
Headers = list[tuple[str, str]]


@pytest.fixture(scope="module")
def aws(running) -> Iterator[Aws]:
    made = Aws(*running)
    yield made
    made.close()


@pytest.fixture(scope="module")
def rekognition(aws):
    client = aws.client()
    client.create_collection(CollectionId="gate")
    return client


@pytest.fixture(scope="module")
def pair(aws) -> dict[str, str]:
    return aws.keys()


@pytest.fixture(scope="module")
def send(aws) -> Callable[[Headers, bytes], tuple[int, dict, dict]]:
    """Sends headers and a body exactly as given: status, headers, JSON."""
    where = urlsplit(aws.installation.url)

    def sending(headers: Headers, body: bytes, path: str = "/") -> tuple[int, dict, dict]:
        link = http.client.HTTPSConnection(
            where.hostname, where.port, context=ssl.create_default_context(cafile=aws.ca), timeout=DEADLINE_S
        )
        link.putrequest("POST", path, skip_host=True, skip_accept_encoding=True)
        for name, value in [*headers, ("Content-Length", str(len(body)))]:
            link.putheader(name, value)
        link.endheaders(body)
        answer = link.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, json.loads(answer.read())
        link.close()
        return found

    return sending


def signed(aws, pair, operation="ListCollections", body=b"{}", service="rekognition", **changes) -> Headers:
    """What botocore sends, its Host among it."""
    headers = {"Content-Type": CONTENT, "X-Amz-Target": f"RekognitionService.{operation}"}
    request = AWSRequest("POST", aws.installation.url + "/", headers=headers, data=body)
    secret = changes.get("secret", pair["secret_access_key"])
    SigV4Auth(Credentials(pair["access_key_id"], secret), service, "eu-central-1").add_auth(request)
    return [("Host", urlsplit(aws.installation.url).netloc), *request.headers.items()]


def changed(headers: Headers, name: str, change: Callable[[str], str]) -> Headers:
    return [(held, change(value) if held.lower() == name else value) for held, value in headers]


def refused(answer: tuple[int, dict, dict]) -> str:
    """The error's name, told in each place where an SDK looks for it."""
    status, headers, body = answer
    assert headers["content-type"] == CONTENT and set(body) == {"__type", "message"}
    assert headers["x-amzn-errortype"] == body["__type"] and len(headers["x-amzn-requestid"]) == 32
    assert status == 400
    return body["__type"]


def test_what_is_signed_as_it_should_be_is_answered(aws, pair, send):
    status, headers, body = send(signed(aws, pair), b"{}")
    assert (status, headers["content-type"]) == (200, CONTENT) and "CollectionIds" in body
    assert len(headers["x-amzn-requestid"]) == 32


def test_a_request_that_is_not_signed_so_is_refused(aws, pair, send):
    good = signed(aws, pair)
    wrong = "InvalidSignatureException"
    assert refused(send(signed(aws, pair, secret="x" * 40), b"{}")) == wrong
    assert refused(send(good, b'{"MaxResults":1}')) == wrong
    assert refused(send(signed(aws, pair, service="s3"), b"{}")) == wrong
    assert refused(send(changed(good, "x-amz-target", lambda _: "RekognitionService.CreateUser"), b"{}")) == wrong
    region = changed(good, "authorization", lambda value: value.replace("eu-central-1", "us-east-1"))
    assert refused(send(region, b"{}")) == wrong
    unknown = changed(good, "authorization", lambda value: value.replace(pair["access_key_id"], "LKIA" + "A" * 16))
    assert refused(send(unknown, b"{}")) == "UnrecognizedClientException"


def test_a_header_left_out_of_the_signature_or_sent_twice_is_refused(aws, pair, send):
    good = signed(aws, pair)
    for name in ("host", "x-amz-target", "x-amz-date", "content-type"):
        dropped = changed(good, "authorization", lambda v, name=name: v.replace(f"{name};", "").replace(f";{name}", ""))
        assert refused(send(dropped, b"{}")) == "IncompleteSignatureException", name
    for name in ("x-amz-target", "x-amz-date", "authorization", "content-type"):
        twin = next(pair for pair in good if pair[0].lower() == name)
        assert refused(send([*good, twin], b"{}")) == "IncompleteSignatureException", name
    added = [*good, ("X-Amz-Security-Token", "x")]
    assert refused(send(added, b"{}")) == "IncompleteSignatureException"


def test_an_old_date_and_one_to_come_are_refused(aws, pair, send, monkeypatch):
    import datetime

    import botocore.auth

    for minutes in (-6, 6, -60 * 24):
        then = get_current_datetime() + datetime.timedelta(minutes=minutes)
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda then=then: then)
        answer = send(signed(aws, pair), b"{}")
        assert refused(answer) == "InvalidSignatureException" and "Signature" in answer[2]["message"]


def test_no_credential_another_s_kind_and_the_form_in_the_query_are_refused(aws, pair, send):
    bare = [item for item in signed(aws, pair) if item[0] != "Authorization"]
    assert refused(send(bare, b"{}")) == "MissingAuthenticationTokenException"
    for value in ("AWS4-HMAC-SHA256 nonsense", "aws4-hmac-sha256 x", "AWS4-HMAC-SHA256 " + "a" * 5000):
        assert refused(send([*bare, ("Authorization", value)], b"{}")) == "IncompleteSignatureException"
    assert refused(send(signed(aws, pair), b"{}", "/?X-Amz-Signature=00")) == "IncompleteSignatureException"
    assert refused(send([*bare, ("x-api-key", "wrong")], b"{}")) == "MissingAuthenticationTokenException"


def test_a_signature_opens_no_other_door(aws, pair):
    where = urlsplit(aws.installation.url)
    link = http.client.HTTPSConnection(
        where.hostname, where.port, context=ssl.create_default_context(cafile=aws.ca), timeout=DEADLINE_S
    )
    link.request("GET", "/v1/collections", headers=dict(signed(aws, pair)))
    answer = link.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (401, "unauthenticated")
    link.close()


def test_a_revoked_key_signs_no_more(aws):
    made = aws.keys()
    client = aws.client(made=made)
    client.list_collections()
    aws.native.revoke_api_key(made["id"])
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            client.list_collections()
        except ClientError as error:
            assert error.response["Error"]["Code"] == "UnrecognizedClientException"
            return
        assert time.monotonic() < deadline, "a revoked key still signs"
        time.sleep(0.1)


# --------------------------------------------------------------------------------------------------- rights

IMAGE = {"Bytes": b"no picture"}
GATE = {"CollectionId": "gate"}
RIGHTS = {
    "create_collection": (GATE, {"operator"}),
    "describe_collection": (GATE, {"viewer", "identifier", "enroller", "operator", "privacy"}),
    "index_faces": (GATE | {"Image": IMAGE}, {"enroller"}),
    "list_faces": (GATE, {"viewer", "identifier", "enroller", "operator", "privacy"}),
    "delete_faces": (GATE | {"FaceIds": [NOBODY]}, {"privacy"}),
    "search_faces": (GATE | {"FaceId": NOBODY}, {"identifier", "enroller"}),
    "search_faces_by_image": (GATE | {"Image": IMAGE}, {"identifier", "enroller"}),
    "detect_faces": ({"Image": IMAGE}, {"identifier", "enroller"}),
    "compare_faces": ({"SourceImage": IMAGE, "TargetImage": IMAGE}, {"identifier", "enroller"}),
    "create_user": (GATE | {"UserId": "u"}, {"enroller"}),
    "delete_user": (GATE | {"UserId": "nobody"}, {"privacy"}),
    "list_users": (GATE, {"viewer", "identifier", "enroller", "operator", "privacy"}),
    "associate_faces": (GATE | {"UserId": "nobody", "FaceIds": [NOBODY]}, {"enroller"}),
    "disassociate_faces": (GATE | {"UserId": "nobody", "FaceIds": [NOBODY]}, {"enroller"}),
    "search_users": (GATE | {"FaceId": NOBODY}, {"identifier", "enroller"}),
    "search_users_by_image": (GATE | {"Image": IMAGE}, {"identifier", "enroller"}),
    "list_collections": ({}, {"viewer", "identifier", "enroller", "operator", "privacy"}),
    "delete_collection": ({"CollectionId": "never-made"}, {"privacy"}),
}


def code_of(call, arguments) -> str:
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "ok"


@pytest.mark.parametrize("role", ["viewer", "identifier", "enroller", "operator", "auditor", "privacy", "admin"])
def test_a_role_may_call_what_its_rights_say(aws, rekognition, role):
    client = aws.client({"role": role})
    wrong = [
        (name, code)
        for name, (arguments, roles) in RIGHTS.items()
        if ((code := code_of(getattr(client, name), arguments)) == "AccessDeniedException")
        == (role in roles | {"admin"})
    ]
    assert wrong == []


def test_a_grant_on_one_collection_holds_there_alone_and_tells_nothing_of_others(aws, rekognition):
    client = aws.client({"role": "admin", "collection": "mine"})
    client.create_collection(CollectionId="mine")
    assert client.list_collections()["CollectionIds"] == ["mine"]
    told = {code_of(client.list_faces, {"CollectionId": name}) for name in ("gate", "never-made")}
    assert told == {"AccessDeniedException"}


def test_every_call_is_audited_under_its_key(aws, rekognition):
    made = aws.keys({"role": "viewer"})
    client = aws.client(made=made)
    client.list_faces(CollectionId="gate")
    refusal(client.index_faces, CollectionId="gate", Image=IMAGE)
    entries = [e for e in aws.native.audit() if e["principal"] == f"key:{made['id']}"]
    assert [(e["action"], e["outcome"], e["collection"]) for e in entries] == [
        ("face.list", "ok", "gate"),
        ("face.index", "denied", "gate"),
    ]


# ---------------------------------------------------------------------------------------------------- input


def test_pictures_that_are_none_too_large_or_elsewhere_are_refused_by_name(rekognition, aws, pair, send):
    call = rekognition.detect_faces
    assert refusal(call, Image={"Bytes": b"GIF89a"}) == "InvalidImageFormatException"
    assert refusal(call, Image={"Bytes": b"\xff\xd8\xff" + bytes(100)}) == "InvalidImageFormatException"
    assert refusal(call, Image={"Bytes": bytes(6_000_000)}) == "ImageTooLargeException"
    assert refusal(call, Image={"Bytes": bytes(20_000_000)}) == "ImageTooLargeException"
    assert refusal(call, Image={"S3Object": {"Bucket": "bucket", "Name": "x.jpg"}}) == "InvalidS3ObjectException"
    assert refusal(call, Image={}) == "InvalidParameterException"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"", "SerializationException"),
        (b"[]", "SerializationException"),
        (b"{", "SerializationException"),
        (b"\xff", "SerializationException"),
        (b'{"a":1,"a":2}', "SerializationException"),
        (b'{"Image":{"Bytes":"!!!!"}}', "SerializationException"),
        (b'{"Image":{"Bytes":"aGk"}}', "SerializationException"),
        (b'{"Image":{"Bytes":""}}', "InvalidParameterException"),
        (b'{"Image":{"Bytes":7}}', "InvalidParameterException"),
        (b'{"Image":"x"}', "InvalidParameterException"),
        (b"{}", "InvalidParameterException"),
        (b'{"Image":{"Bytes":null}}', "InvalidParameterException"),
    ],
)
def test_a_body_that_is_rubbish_is_refused(aws, pair, send, body, name):
    assert refused(send(signed(aws, pair, "DetectFaces", body), body)) == name


@pytest.mark.parametrize(
    "change",
    [
        {"CollectionId": "ünïcode"},
        {"CollectionId": "a" * 256},
        {"CollectionId": "gate\n"},
        {"FaceMatchThreshold": 101},
        {"FaceMatchThreshold": -1},
        {"FaceMatchThreshold": True},
        {"MaxFaces": 0},
        {"MaxFaces": 4097},
        {"QualityFilter": "BEST"},
    ],
)
def test_a_value_out_of_bounds_is_refused(aws, rekognition, pair, send, portraits, change):
    picture = base64.b64encode(portraits["obama.jpg"]).decode()
    body = json.dumps({"CollectionId": "gate", "Image": {"Bytes": picture}} | change).encode()
    answer = send(signed(aws, pair, "SearchFacesByImage", body), body)
    assert refused(answer) == "InvalidParameterException" and next(iter(change)) in answer[2]["message"]


@pytest.mark.parametrize(
    "target", ["", "ListCollections", "RekognitionService.", "RekognitionService.StartTextDetection"]
)
def test_an_operation_that_is_not_there_is_refused_as_unknown(aws, pair, send, target):
    headers = {"Content-Type": CONTENT, "X-Amz-Target": target}
    request = AWSRequest("POST", aws.installation.url + "/", headers=headers, data=b"{}")
    SigV4Auth(Credentials(pair["access_key_id"], pair["secret_access_key"]), "rekognition", "x").add_auth(request)
    host = ("Host", urlsplit(aws.installation.url).netloc)
    assert refused(send([host, *request.headers.items()], b"{}")) == "UnknownOperationException"
