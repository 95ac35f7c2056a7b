"""The documents as a site: no dead link, nothing from another host, every document and every call of the API in it."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

from tests.docs.conftest import ROOT

sys.path.insert(0, str(ROOT / "docs" / "site"))
from api_reference import description
from python_markdown import for_python_markdown

FETCHED = {
    "img": "src",
    "script": "src",
    "link": "href",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "use": "href",
}
"""The attribute by which a tag makes a browser fetch something. A link that a reader may follow is not one."""


class Fetches(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        address = dict(attributes).get(FETCHED.get(tag, ""))
        if address is not None:
            self.addresses.append(address)


def fetched_from(page: str) -> list[str]:
    parser = Fetches()
    parser.feed(page)
    return parser.addresses


def test_no_page_fetches_anything_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    foreign = {address for page in pages for address in fetched_from(page.read_text("utf-8")) if "//" in address}
    styles = [
        file for file in site.rglob("*.css") if re.search(r"(url\(|@import)\W*(https?:)?//", file.read_text("utf-8"))
    ]

    assert len(pages) > 40
    assert not foreign
    assert not styles


def test_a_browser_is_told_to_ask_no_other_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert "default-src &#39;self&#39;" in page.read_text("utf-8").replace("'", "&#39;"), page.name


def test_what_a_page_would_fetch_from_elsewhere_is_noticed() -> None:
    page = '<img src="https://cdn.example/a.png"><a href="https://example.org">read</a><script src="//x/y.js"></script>'

    assert fetched_from(page) == ["https://cdn.example/a.png", "//x/y.js"]


def test_every_document_is_a_page_that_the_navigation_leads_to(site: Path) -> None:
    home = (site / "index.html").read_text("utf-8")
    for document in (*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "guides").glob("*.md")):
        page = document.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert (site / page).is_file()
        assert page == "index.html" or f'href="{page}"' in home, page
    decisions = (site / "adr" / "index.html").read_text("utf-8")
    for decision in (ROOT / "docs" / "adr").glob("[0-9]*.md"):
        assert f'href="{decision.stem}.html"' in decisions


def test_every_call_and_shape_of_the_api_is_in_the_reference(site: Path) -> None:
    reference = re.sub(r"<[^>]+>", "", (site / "api-calls.html").read_text("utf-8"))
    described = description()
    missing = [
        f"{method.upper()} {path}"
        for path, calls in described["paths"].items()
        for method in calls
        if f"{method.upper()} {path}" not in reference
    ]
    missing += [name for name in described["components"]["schemas"] if name not in reference]

    assert len(described["paths"]) > 50
    assert not missing


def test_no_link_is_dead_where_the_documents_are_read_as_files() -> None:
    documents = (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    dead = [
        f"{document.relative_to(ROOT)}: {address}"
        for document in documents
        for address in re.findall(r"\]\((?!https?:)([^)#\s:]+)", document.read_text("utf-8"))
        if not (document.parent / address).exists()
    ]

    assert len(documents) > 60
    assert not dead


def test_a_list_or_a_table_right_under_a_paragraph_and_a_list_in_a_list_are_rendered() -> None:
    text = "It says:\n- one\n  - inner\n- two\n\nThen:\n| a |\n|---|\n```\nx:\n- y\n```\n"

    assert for_python_markdown(text) == (
        "It says:\n\n- one\n    - inner\n- two\n\nThen:\n\n| a |\n|---|\n```\nx:\n- y\n```\n"
    )
