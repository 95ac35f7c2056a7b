"""An archive becomes pictures with their subjects; what is wrong with one of them does not spoil the others."""

from __future__ import annotations

import base64
import io
import json
import unicodedata

import pytest

from api.picture_sources import open_source
from lookalike.bulk import Facts, Unreadable
from lookalike.domain import Consent
from lookalike.errors import BadArchive
from tests.api.test_zip_archive import zipped

MAX = 1000


def source(data: bytes, limit: int = 100):
    return open_source(io.BytesIO(data), limit)


def loaded(data: bytes) -> dict[str, tuple[str, bytes] | str]:
    """By label: subject and bytes, or the reason."""
    found: dict[str, tuple[str, bytes] | str] = {}
    for item in source(data):
        try:
            one = item.load(MAX)
            found[item.label] = one.subject, one.data
        except Unreadable as error:
            found[item.label] = error.reason
    return found


def test_each_folder_of_a_zip_is_a_subject_at_any_depth_and_junk_is_left_out():
    files = {
        "ada/1.jpg": b"1",
        "ada/2020/2.jpg": b"2",
        "bob/Thumbs.db": b"",
        "__MACOSX/ada/._1.jpg": b"",
        "bob/3": b"3",
    }
    assert loaded(zipped(files)) == {
        "ada/1.jpg": ("ada", b"1"),
        "ada/2020/2.jpg": ("ada", b"2"),
        "bob/3": ("bob", b"3"),
    }


def test_the_folder_that_a_zip_program_puts_around_all_is_nobody():
    found = loaded(zipped({"people/ada/1.jpg": b"1", "people/bob/2.jpg": b"2", "people/loose.jpg": b"3"}))
    assert found == {
        "people/ada/1.jpg": ("ada", b"1"),
        "people/bob/2.jpg": ("bob", b"2"),
        "people/loose.jpg": "not_in_a_subject_folder",
    }


def test_a_zip_of_one_folder_of_pictures_is_one_subject():
    assert loaded(zipped({"ada/1.jpg": b"1", "ada/2.jpg": b"2"})) == {
        "ada/1.jpg": ("ada", b"1"),
        "ada/2.jpg": ("ada", b"2"),
    }


def test_the_order_is_the_same_however_the_zip_was_packed():
    files = {"b/1": b"1", "a/2": b"2", "a/1": b"3"}
    backwards = dict(reversed(files.items()))
    assert (
        [i.label for i in source(zipped(files))]
        == [i.label for i in source(zipped(backwards))]
        == ["a/1", "a/2", "b/1"]
    )


def test_names_of_decomposed_letters_become_nfc():
    name = unicodedata.normalize("NFD", "Zoë")
    assert loaded(zipped({f"{name}/1": b"1"})) == {f"{name}/1": ("Zoë", b"1")}


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "/etc/passwd", "ada/../../x.jpg", "ada\\..\\x.jpg"])
def test_a_path_that_leads_outside_is_refused_and_its_neighbours_are_not(name):
    found = loaded(zipped({"bob/1.jpg": b"1", name: b"x"}))
    assert found[name] == "unsafe_path"
    assert found["bob/1.jpg"] == ("bob", b"1")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_read_once():
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("ada/1.jpg", b"1")
        archive.writestr("ada/1.jpg", b"2")
    first, second = source(out.getvalue())
    assert first.load(MAX).data == b"1"
    with pytest.raises(Unreadable, match="duplicate_name"):
        second.load(MAX)


# ------------------------------------------------------------------------------------------------ manifests


@pytest.mark.parametrize("around", ["", "people/"])
def test_a_manifest_says_whose_and_what_is_known_of_them(around):
    text = (
        "path,subject,site,consent_basis,consent_expires_at,valid_until\n"
        "p/1.jpg,ada,north,contract,2030-01-01,2031-12-31\n./p/2.jpg,ada,,,,\np/3.jpg,bob,,,,\n"
    )
    files = {"list.csv": text.encode("utf-8-sig"), "p/1.jpg": b"1", "p/2.jpg": b"2", "p/unnamed.jpg": b"4"}
    one, two, three = source(zipped({around + name: data for name, data in files.items()}))
    ada = Facts({"site": "north"}, Consent("contract", "", "2030-01-01"), None, "2031-12-31")
    assert one.load(MAX).facts == two.load(MAX).facts == ada
    assert (two.load(MAX).subject, two.load(MAX).data) == ("ada", b"2")
    with pytest.raises(Unreadable, match="unreadable_file") as missing:
        three.load(MAX)
    assert missing.value.subject == "bob"


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"a.csv": b"path,subject\n", "b.csv": b"path,subject\n"}, "several CSV"),
        ({"a.csv": b"name\nx\n"}, "path and subject"),
        ({"a.csv": b"path,subject\n,ada\n"}, "line 2"),
        ({"a.csv": b"\xff\xfe\x00"}, "UTF-8"),
    ],
)
def test_a_manifest_that_cannot_be_meant_is_refused(files, word):
    with pytest.raises(BadArchive, match=word):
        source(zipped(files))


# --------------------------------------------------------------------------------------------------- NDJSON


def line(**fields: object) -> bytes:
    return json.dumps({"subject": "ada", "image": base64.b64encode(b"pixels").decode(), **fields}).encode() + b"\n"


def test_each_line_is_a_picture_with_what_is_known():
    data = line() + b"\r\n  \n" + line(subject="bob", metadata={"k": "v"}, consent={"basis": "contract"}).rstrip()
    one, two = source(data)
    assert (one.label, one.load(MAX).subject, one.load(MAX).data) == ("line 1", "ada", b"pixels")
    assert (two.label, two.load(MAX).facts) == ("line 4", Facts({"k": "v"}, Consent("contract")))


@pytest.mark.parametrize(
    "bad",
    [b"{not json}", b'{"subject": "ada"}', line(extra=1), line(subject=1), b'{"subject":"a","subject":"b","image":""}',
     line(metadata={"k": 1}), b"[1]", b"\xff"],
)  # fmt: skip
def test_a_line_that_says_nothing_we_know_is_refused_and_the_next_is_not(bad):
    found = loaded(line() + bad.rstrip() + b"\n" + line())
    assert list(found.values()) == [("ada", b"pixels"), "bad_line", ("ada", b"pixels")]


def test_what_is_no_base64_is_refused():
    assert loaded(line(image="%%%")) == {"line 1": "not_base64"}


def test_a_picture_beyond_the_limit_is_refused():
    assert loaded(line(image=base64.b64encode(bytes(MAX + 1)).decode())) == {"line 1": "image_too_large"}


def test_a_line_without_an_end_is_not_read_into_memory():
    class Endless(io.RawIOBase):
        """A line of a gigabyte."""

        def __init__(self) -> None:
            self.at = 0
            self.most = 0

        def readable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return True

        def seek(self, offset: int, whence: int = 0) -> int:
            self.at = offset if whence == 0 else (1 << 30) + offset
            return self.at

        def readinto(self, buffer) -> int:
            count = min(len(buffer), (1 << 30) - self.at)
            self.most = max(self.most, count)
            buffer[:count] = b"{" + b"x" * (count - 1) if count else b""
            self.at += count
            return count

    raw = Endless()
    file = io.BufferedReader(raw, 1 << 16)
    (item,) = open_source(file, 100)
    with pytest.raises(Unreadable, match="image_too_large"):
        item.load(MAX)
    assert raw.most <= 1 << 20


def test_more_lines_than_are_allowed_are_refused():
    with pytest.raises(BadArchive, match="at most 2"):
        source(line() * 3, 2)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xe0 a picture", b"path,subject\n", b"[]"])
def test_anything_else_is_refused(data):
    with pytest.raises(BadArchive, match="neither"):
        source(data)
