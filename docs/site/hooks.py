"""Builds the site from the documents as they are: pages made from the program, links that leave docs/, missing pages.

Three things that MkDocs leaves open. Pages that nobody writes are made: the calls of the API and the list of decisions.
Documents link to files beside docs/, so these come into the site too, and the links point there. And a page that the
navigation in mkdocs.yml does not name yet stands under "More", so that a new document is never lost.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Any

from api_reference import reference  # MkDocs finds the neighbours of a hook.
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from python_markdown import for_python_markdown

ROOT = Path(__file__).resolve().parents[2]
PAGES_OF_THE_PROJECT = ("CHANGELOG.md", "CONTRIBUTING.md", "MODEL_CARD.md", "SECURITY.md")
_LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(#[^)\s]*)?(?=\))")
_FENCE = re.compile(r"(^ *```.*?^ *``` *$)", re.DOTALL | re.MULTILINE)
"""Split by it, a document is prose and code in turn."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add what the navigation does not name."""
    named = set(_named(config.nav))
    folder = Path(config.docs_dir)
    found = [path.relative_to(folder).as_posix() for path in (*folder.glob("*.md"), *folder.glob("guides/*.md"))]
    more = sorted(set(found) - named)
    if more:
        config.nav.append({"More": more})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and whatever file of the repository a document links to."""
    files.append(File.generated(config, "api-calls.md", content=reference()))
    files.append(File.generated(config, "adr/index.md", content=_decisions()))
    for name in PAGES_OF_THE_PROJECT:
        files.append(File.generated(config, f"project/{name}", content=(ROOT / name).read_text("utf-8")))
    for path in sorted(_linked_outside(files)):
        files.append(File.generated(config, f"files/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make a document readable for Python-Markdown, and have its links that leave docs/ stay within the site."""
    here = PurePosixPath(page.file.src_uri)

    def in_site(match: re.Match[str]) -> str:
        target = _in_site(_in_repository(here, match[1]))
        return posixpath.relpath(target, here.parent.as_posix()) + (match[2] or "")

    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(in_site, prose) for prose in parts[::2]]
    return for_python_markdown("".join(parts))


def _named(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    children = nav.values() if isinstance(nav, dict) else nav
    return [name for child in children for name in _named(child)]


def _decisions() -> str:
    """The list of docs/adr, by the titles of the files."""
    lines = ["# Decisions", "What closes a door, and why it was closed.", ""]
    for path in sorted((ROOT / "docs" / "adr").glob("[0-9]*.md")):
        title = path.read_text("utf-8").splitlines()[0].removeprefix("# ")
        lines.append(f"- [{title}]({path.name})")
    return "\n".join(lines) + "\n"


def _linked_outside(files: Files) -> set[str]:
    """Files of the repository that a document links to and that are no pages of the site."""
    found = set()
    for file in files.documentation_pages():
        here = PurePosixPath(file.src_uri)
        for prose in _FENCE.split(file.content_string)[::2]:
            found.update(_in_repository(here, match[1]) for match in _LINK.finditer(prose))
    return {path for path in found if _in_site(path).startswith("files/") and (ROOT / path).is_file()}


def _in_repository(page: PurePosixPath, link: str) -> str:
    """Where a link of a page points, from the top of the repository. Pages of the project stand at its top."""
    folder = PurePosixPath() if page.parts[0] == "project" else PurePosixPath("docs") / page.parent
    return posixpath.normpath((folder / link).as_posix())


def _in_site(path: str) -> str:
    """Where a file of the repository stands in the site, from its top."""
    if path.startswith("docs/"):
        return "adr/index.md" if path == "docs/adr" else path.removeprefix("docs/")
    return f"project/{path}" if path in PAGES_OF_THE_PROJECT else f"files/{path}"
