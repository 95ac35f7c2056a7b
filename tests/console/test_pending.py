"""The page on which two people confirm who it is, one after the other."""

from __future__ import annotations

import re

import pytest

from lookalike.answers import Caller, Picture
from lookalike.domain import Grant
from tests.console.conftest import ADMIN, Console, Visitor


@pytest.fixture
def asked(console: Console, admin: Visitor, collection: str, portraits) -> tuple[str, Visitor]:
    """A collection that asks for two people, and who searched in it."""
    gallery, who = console.services.gallery, Caller(ADMIN, "-")

    gallery.enrol(who, collection, "Barack Obama", [Picture("p", portraits["obama.jpg"])])
    console.services.retention.set_rules(who, collection, four_eyes_days=7)
    searcher = console.visitor(Grant("identifier", collection))
    page = searcher.get(f"/console/collections/{collection}/identify")
    assert page.status_code == 200
    told = searcher.send(f"/console/collections/{collection}/identify", {"image": portraits["obama2.jpg"]})
    assert "waits for two people" in told.text and "Obama" not in told.text
    return collection, searcher


def cards(page: str) -> list[str]:
    return re.findall(r'action="([^"]+/confirm)"', page)


def test_each_sees_the_pair_by_themselves_and_two_confirm(console: Console, asked: tuple[str, Visitor]) -> None:
    collection, searcher = asked
    path = f"/console/collections/{collection}/pending"
    mine = searcher.get(path).text
    assert cards(mine) == [] and "Obama" not in mine and "waits for others" in mine
    for _ in range(2):
        reviewer = console.visitor(Grant("identifier", collection))
        page = reviewer.get(path)
        (action,) = cards(page.text)
        pictures = re.findall(r'src="(/console/[^"]+/face)"', page.text)
        assert len(pictures) == 2
        assert all(reviewer.get(picture).headers["content-type"] == "image/jpeg" for picture in pictures)
        assert reviewer.post(action, subject="Barack Obama").status_code == 303
        assert cards(reviewer.get(path).text) == []
    (row,) = console.services.gallery.pending.page(Caller(ADMIN, "-"), collection)
    assert row.state == "confirmed"


def test_one_who_says_that_it_is_nobody_ends_it(console: Console, asked: tuple[str, Visitor]) -> None:
    collection, _ = asked
    path = f"/console/collections/{collection}/pending"
    reviewer = console.visitor(Grant("enroller", collection))
    (action,) = cards(reviewer.get(path).text)
    assert reviewer.post(action.replace("/confirm", "/reject")).status_code == 303
    assert cards(console.visitor(Grant("identifier", collection)).get(path).text) == []
