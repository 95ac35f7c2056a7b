"""Multipart bodies in memory, and strict JSON."""

from __future__ import annotations

import asyncio
import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from api.bodies import Expected, json_value, read_json, read_parts
from api.errors import InvalidFields, MissingField, RequestTooLarge, UnsupportedMediaType
from api.schemas_collections import NewCollection
from api.schemas_service import NewApiKey
from lookalike.errors import ImageTooLarge, InvalidInput, LookalikeError
from tests.api.doubles import multipart

IMAGE = Expected({"image": 1})
IMAGES = Expected({"images": 3})


def request(body: bytes, headers: dict[str, str], chunk: int = 65536) -> Request:
    pieces = [body[i : i + chunk] for i in range(0, len(body), chunk)] or [b""]
    messages = [
        {"type": "http.request", "body": piece, "more_body": i + 1 < len(pieces)} for i, piece in enumerate(pieces)
    ]

    async def receive() -> dict[str, object]:
        return messages.pop(0)

    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b""}, receive)


def parts(body: bytes, headers: dict[str, str], expected: Expected = IMAGE, most: int = 10_000, chunk: int = 65536):
    return asyncio.run(read_parts(request(body, headers, chunk), expected, most))


def test_a_picture_comes_through_byte_for_byte():
    data = bytes(range(256)) * 20 + b"\r\n--b0undar\r\n--"
    found = parts(*multipart(("image", "photo.jpg", data)))
    assert bytes(found.named("image")[0].data) == data
    assert found[0].filename == "photo.jpg"


@given(data=st.binary(max_size=300), chunk=st.integers(1, 50))
def test_where_the_network_cuts_a_body_does_not_matter(data, chunk):
    assert bytes(parts(*multipart(("image", "p", data)), chunk=chunk)[0].data) == data


def test_the_content_type_of_a_part_and_its_file_name_are_not_needed():
    assert bytes(parts(*multipart(("image", None, b"abc")))[0].data) == b"abc"


@pytest.mark.parametrize(
    ("sent", "error", "hint"),
    [
        ([("file", "p.jpg", b"x")], MissingField, "'image'"),
        ([], MissingField, "'image'"),
        ([("image", "a", b"x"), ("image", "b", b"x")], InvalidInput, "once"),
        ([("image", "a", b"x"), ("other", "b", b"x")], InvalidInput, "'image'"),
        ([("image", "a", b"x" * 10_001)], ImageTooLarge, "10000 bytes"),
    ],
)
def test_parts_that_do_not_fit_are_refused(sent, error, hint):
    with pytest.raises(error) as caught:
        found = parts(*multipart(*sent))
        found.named("image")
    assert hint in str(caught.value)


def test_too_many_pictures_are_refused():
    with pytest.raises(ImageTooLarge, match="at most 3"):
        parts(*multipart(*[("images", f"{i}.jpg", b"x") for i in range(4)]), IMAGES)


@pytest.mark.parametrize(
    "kind",
    ["image/jpeg", "application/x-www-form-urlencoded", "multipart/form-data", "multipart/mixed; boundary=x", ""],
)
def test_a_body_of_another_kind_is_415(kind):
    with pytest.raises(UnsupportedMediaType, match="'image'"):
        parts(b"abc", {"content-type": kind})


@given(body=st.binary(max_size=400))
def test_no_bytes_in_a_multipart_body_bring_anything_but_our_errors(body):
    try:
        parts(body, {"content-type": "multipart/form-data; boundary=b0undary"})
    except LookalikeError:
        return


@given(cut=st.integers(0, 120))
def test_a_body_that_ends_too_early_is_refused(cut):
    body, headers = multipart(("image", "photo.jpg", b"x" * 40))
    with pytest.raises(InvalidInput):
        parts(body[: min(cut, len(body) - 6)], headers).named("image")


def test_a_large_picture_never_touches_the_disk(monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file was made")

    for name in ("TemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    data = os.urandom(5_000_000)
    assert bytes(parts(*multipart(("image", "p.jpg", data)), most=6_000_000)[0].data) == data


def test_the_digest_is_of_the_parts_and_not_of_the_boundary():
    sent = [("images", "a.jpg", b"one"), ("images", "b.jpg", b"two")]
    digests = {parts(*multipart(*sent, boundary=b), IMAGES).digest() for b in ("first", "second")}
    assert len(digests) == 1
    assert parts(*multipart(*reversed(sent)), IMAGES).digest() not in digests
    assert parts(*multipart(("images", "a.jpg", b"onetwo")), IMAGES).digest() not in digests


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":1,"a":2}', b"\xff\xfe", b"[" * 100_000],
)
def test_what_is_not_json_is_refused(text):
    with pytest.raises(InvalidInput):
        json_value(text)


def json_body(body: bytes, model: type, kind: str = "application/json"):
    return asyncio.run(read_json(request(body, {"content-type": kind}), model))


def test_wrong_fields_are_named_without_their_values():
    with pytest.raises(InvalidFields) as caught:
        json_body(b'{"name": 5, "colour": "canary", "target_fpir": "canary"}', NewCollection)
    assert {item["field"] for item in caught.value.fields} == {"name", "colour", "target_fpir"}
    assert "canary" not in str(caught.value)


def test_numbers_are_not_made_out_of_text_or_truth():
    for body in (b'{"name":"a","target_fpir":"0.1"}', b'{"name":"a","retention_days":true}'):
        with pytest.raises(InvalidFields):
            json_body(body, NewCollection)


def test_a_number_beyond_floats_is_refused_or_read():
    with pytest.raises(InvalidInput):
        json_body(b'{"name":"a","retention_days":' + b"9" * 5000 + b"}", NewCollection)


def test_half_a_surrogate_pair_is_no_text():
    with pytest.raises(InvalidInput):
        json_body(b'{"name":"\\ud800"}', NewCollection)
    assert json_body(b'{"name":"\\ud83d\\ude00"}', NewCollection).name == "\U0001f600"


def test_a_json_body_has_a_limit_and_a_content_type():
    with pytest.raises(RequestTooLarge):
        json_body(b" " * 1_000_001, NewApiKey)
    with pytest.raises(UnsupportedMediaType):
        json_body(b"{}", NewApiKey, "text/xml")
    with pytest.raises(InvalidFields):
        json_body(b"[]", NewApiKey, "application/json; charset=utf-8")
