"""The page of an access request's answer: what is kept of one person, to be read in any browser, without scripts.

Every value is escaped: a name or a metadata value is text here, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ccc }
table { border-collapse: collapse; width: 100%; font-size: .92rem } th, td { text-align: left; padding: .3rem .6rem;
border-bottom: 1px solid #e5e5e5; vertical-align: top; overflow-wrap: anywhere } th { width: 14rem; font-weight: 600 }
thead th { width: auto } figure { display: inline-block; margin: .5rem 1rem .5rem 0; vertical-align: top; width: 14rem }
img { max-width: 14rem; max-height: 14rem; border: 1px solid #ccc } figcaption { font-size: .8rem; color: #555;
overflow-wrap: anywhere } p.note { color: #555 }
"""

_STANDINGS = {
    "good": "may be recognised",
    "not_yet_valid": "not recognised: the dates begin later",
    "no_longer_valid": "not recognised: the dates are over",
    "consent_withdrawn": "not recognised: consent was withdrawn",
    "consent_expired": "not recognised: consent has expired",
    "consent_missing": "not recognised: the collection asks for a consent, and none is there",
    "past_retention": "not recognised: the time is over, and the record is about to be erased",
}


_SEARCHES = {
    "pending": "two people have yet to say whether it was this person",
    "confirmed": "two people confirmed that it was this person",
}


def page(document: Mapping[str, Any]) -> str:
    """The page of a document as api/access_zip.py describes it."""
    subject, collection = document["subject"], document["collection"]
    sections = [
        _section("What is known", _facts(_known(document))),
        _section("Metadata", _facts(subject["metadata"]) if subject["metadata"] else _note("None.")),
        _section("Pictures and what was made of them", _samples(document)),
        _section("Faces nobody has named that look like this person", _unknowns(document)),
        _section("Searches that may have found this person", _waiting(document)),
        _section("Copies elsewhere", _elsewhere(document)),
        _section("What was done with this record", _audit(document["audit"])),
    ]
    title = f"What is kept of {escape(subject['id'])}"
    said = f"In the collection {collection['name']}, as of {document['made_at']}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"</head><body><h1>{title}</h1>{_note(said)}"
        f"{''.join(sections)}</body></html>"
    )


def _known(document: Mapping[str, Any]) -> dict[str, object]:
    subject, collection, consent = document["subject"], document["collection"], document["subject"]["consent"]
    facts: dict[str, object] = {
        "Name in the system": subject["id"],
        "Internal id": subject["internal_id"],
        "At present": _STANDINGS[document["standing"]],
        "Enrolled": subject["created_at"],
        "Last changed": subject["updated_at"],
        "Renewed": subject["renewed_at"],
        "Valid from": subject["valid_from"],
        "Valid until": subject["valid_until"],
        "Kept until": document["kept_until"] or "no time is set",
        "Legal hold": "on: kept whatever else is said here" if document["on_legal_hold"] else "none",
    }
    if consent is None:
        facts["Consent"] = "none is written down"
    else:
        facts |= {"Rests on": consent["basis"], "Reference": consent["reference"], "Until": consent["expires_at"]}
        facts["Withdrawn"] = consent.get("withdrawn_at")
    facts["Models in use"] = ", ".join(collection["models"])
    return {name: value for name, value in facts.items() if value is not None}


def _samples(document: Mapping[str, Any]) -> str:
    figures = [
        _figure(
            sample["files"],
            f"{sample['id']}, enrolled {sample['enrolled_at']}, templates of "
            + (", ".join(f"{t['model']} ({t['numbers']} numbers)" for t in sample["templates"]) or "no present model"),
        )
        for sample in document["samples"]
    ]
    return "".join(figures) + _note(document["templates"]["why"]) if figures else _note("None.")


def _unknowns(document: Mapping[str, Any]) -> str:
    rows = document["unknown_faces_that_look_alike"]
    figures = [
        _figure(
            row["files"],
            f"seen {row['seen']} times, {row['first_seen']} to {row['last_seen']}, forgotten {row['forgotten_at']}",
        )
        for row in rows
    ]
    said = "They may be somebody else: they were found by their likeness alone." if figures else "None."
    return "".join(figures) + _note(said)


def _waiting(document: Mapping[str, Any]) -> str:
    rows = [
        (row["searched_at"], _SEARCHES[row["state"]], f"{row['similarity']:.3f}", row["forgotten_at"])
        for row in document["identifications_that_name_it"]
    ]
    return _table(("when", "what became of it", "similarity", "forgotten"), rows) if rows else _note("None is kept.")


def _elsewhere(document: Mapping[str, Any]) -> str:
    rows = [
        (copy["at"], f"a sealed copy of the collection, to the key {copy['recipient_key']}", copy["export"])
        for copy in document["copies_with_others"]
    ]
    if document["last_backup_at"] is not None:
        rows.append((document["last_backup_at"], "the last sealed backup; earlier ones since the enrolment too", ""))
    return _table(("when", "what", "id"), rows) if rows else _note("None is known.")


def _audit(entries: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (e["at"], e["action"], e["outcome"], e["by"], e["how"], ", ".join(f"{k} {v}" for k, v in e["details"].items()))
        for e in entries
    ]
    return _table(("when", "what", "outcome", "by", "the record was", "details"), rows)


def _section(title: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2>{body}"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _facts(facts: Mapping[str, object]) -> str:
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in facts.items())
    return f"<table>{rows}</table>"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _figure(files: Sequence[str], caption: str) -> str:
    images = "".join(f'<a href="{escape(name)}"><img src="{escape(name)}" alt=""></a>' for name in files)
    return f"<figure>{images or 'no picture is kept'}<figcaption>{escape(caption)}</figcaption></figure>"
