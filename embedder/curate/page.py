"""Draws the findings as one HTML page with small pictures inlined: nothing is loaded from anywhere, nothing runs."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import cv2

from embedder.curate.curation import Curation
from embedder.curate.findings import FAULTS, Finding
from embedder.images import ImageLimits, decode_image, encode_jpeg
from lookalike.errors import LookalikeError

THUMB_PX = 112
MOST_SHOWN = 150
"""Of one fault so many are drawn; the lists hold all."""

_PREVIEWS = 3
"""Of a folder, so many pictures stand for it."""

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
h2{margin-top:2.2rem;border-bottom:1px solid #d8dee4}small,.why{color:#57606a}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(21rem,1fr));gap:.8rem}
.card{border:1px solid #d8dee4;border-radius:6px;padding:.6rem;overflow-wrap:anywhere}
.pair{display:flex;gap:.6rem}.pair figure{margin:0;flex:1 1 0;min-width:0}
figcaption{font-size:12px}img{max-width:112px;max-height:112px;image-rendering:auto;background:#eaeef2}
.none{display:inline-block;width:112px;height:60px;background:#eaeef2;color:#57606a;font-size:12px;text-align:center}
b.do{background:#ddf4ff;border-radius:4px;padding:0 .3rem}table{border-collapse:collapse}td{padding:.1rem .8rem .1rem 0}
"""


def draw_page(found: Curation, limits: ImageLimits | None = None) -> str:
    """The whole page. Pictures are read again, those of the findings only."""
    thumbs = _Thumbs(found, limits or ImageLimits())
    counts = found.counts()
    contents = "\n".join(
        f'<tr><td><a href="#{fault}">{html.escape(FAULTS[fault].title)}</a></td><td>{count}</td></tr>'
        for fault, count in counts.items()
    )
    sections = "\n".join(
        _section(fault, [each for each in found.findings if each.fault == fault], thumbs) for fault in counts
    )
    notes = "".join(f"<p><b>{html.escape(note)}</b></p>" for note in found.notes)
    compared = f", compared with {_text(str(found.against))}" if found.against is not None else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Curation: {_text(found.root.name)}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>{_STYLE}</style></head>
<body><h1>{_text(found.root.name)}</h1>
<p>{found.pictures:,} pictures in {found.folders:,} folders{compared}; {len(found.findings):,} findings.
This page holds pictures of the set: keep it as private as the set itself.</p>
{notes}
<p>To act: edit the column <code>action</code> of <code>findings.csv</code> (keep, remove, look, move FOLDER), then run
<code>lookalike curate</code> again with <code>--apply DESTINATION</code>. It makes a clean copy
and changes nothing here.
Confidence orders the findings of one fault; it is no probability.</p>
<table>{contents}</table>
{sections or "<p>Nothing was found.</p>"}
</body></html>
"""


def _section(fault: str, findings: Sequence[Finding], thumbs: _Thumbs) -> str:
    about = FAULTS[fault]
    cards = "\n".join(_card(each, thumbs) for each in findings[:MOST_SHOWN])
    rest = len(findings) - MOST_SHOWN
    more = f"<p>{rest} more are in findings.csv.</p>" if rest > 0 else ""
    return f"""<h2 id="{fault}">{html.escape(about.title)} ({len(findings)}) <small>{fault}</small></h2>
<p>{html.escape(about.meaning)} <b>{html.escape(about.advice)}</b></p>
<div class="grid">
{cards}
</div>{more}"""


def _card(finding: Finding, thumbs: _Thumbs) -> str:
    sides = [finding.path, finding.other] if finding.other else [finding.path]
    figures = "".join(f"<figure>{thumbs.of(side)}<figcaption>{_text(side)}</figcaption></figure>" for side in sides)
    return (
        f'<div class="card"><div class="pair">{figures}</div><b class="do">{_text(finding.action)}</b> '
        f'<small>{finding.confidence:.2f}</small> <span class="why">{_text(finding.reason)}</span></div>'
    )


def _text(value: str) -> str:
    """Escaped; bytes of a name that are no text are shown as such."""
    return html.escape(value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


class _Thumbs:
    """Small pictures as HTML, by a finding's path."""

    def __init__(self, found: Curation, limits: ImageLimits) -> None:
        self._found = found
        self._limits = limits

    def of(self, path: str) -> str:
        root, relative = self._found.root, path
        if path.startswith("against:") and self._found.against is not None:
            root, relative = self._found.against, path.removeprefix("against:")
        target = root / relative
        if not target.is_dir():
            return self._image(target)
        pictures = sorted(p for p in target.iterdir() if p.is_file() and not p.name.startswith("."))
        return "".join(self._image(picture) for picture in pictures[:_PREVIEWS])

    def _image(self, path: Path) -> str:
        try:
            picture = decode_image(path.read_bytes(), self._limits)
        except (LookalikeError, OSError):
            return '<span class="none">cannot be shown</span>'
        height, width = picture.shape[:2]
        factor = min(1.0, THUMB_PX / max(height, width))
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(encode_jpeg(small, 75)).decode()}">'
