"""The operator's map: who gets what, and what is said of one that is wrong."""

from __future__ import annotations

import pytest
from cryptography import x509

from lookalike.domain import Grant
from lookalike.errors import BadSettings
from security.identity_map import CertificateNames, names_of, read_map

MAP = b"""
[[grant]]
group = "gate"
role = "identifier"
collections = ["staff", "visitors"]

[[grant]]
group = "office"
role = "admin"

[[grant]]
subject = "ann"
role = "auditor"

[[grant]]
certificate = "OU=gates,O=Example"
role = "identifier"
collections = ["staff"]

[[grant]]
certificate = "dns:Gate-3.example.org"
role = "enroller"
collections = ["staff"]
"""


def test_a_token_gets_what_its_groups_and_its_subject_are_given_and_nothing_else():
    found = read_map(MAP)
    assert found.of_token("bob", ["gate"]) == (Grant("identifier", "staff"), Grant("identifier", "visitors"))
    assert found.of_token("ann", ["office", "unknown"]) == (Grant("admin"), Grant("auditor"))
    assert found.of_token("bob", ["unknown", "GATE", "gate "]) == ()
    assert found.of_token("gate", ["ann", "OU=gates,O=Example", "dns:gate-3.example.org"]) == ()


@pytest.mark.parametrize(
    ("subject", "alternatives", "roles"),
    [
        ("CN=gate-1,OU=gates,O=Example,C=DE", (), ["identifier"]),
        ("O=Example,OU=gates", (), ["identifier"]),
        ("CN=gate-3,OU=gates,O=Example", ("dns:gate-3.example.org",), ["identifier", "enroller"]),
        ("CN=gate-1,OU=gates,O=Other", (), []),
        ("CN=OU\\=gates\\,O\\=Example", (), []),
        ("CN=gate-3.example.org", (), []),
        ("CN=x", ("dns:gate-3.example.org.evil.example", "uri:dns:gate-3.example.org"), []),
    ],
)
def test_a_certificate_gets_what_all_attributes_of_an_entry_or_a_name_of_it_say(subject, alternatives, roles):
    names = CertificateNames(names_of(x509.Name.from_rfc4514_string(subject)), frozenset(alternatives))
    assert [grant.role for grant in read_map(MAP).of_certificate(names)] == roles


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[grant", "TOML"),
        ("\udcff", "TOML"),
        ('[grants]\na = "b"', r"\[\[grant\]\]"),
        ('grant = "all"', r"\[\[grant\]\]"),
        ('[[grant]]\nrole = "admin"', "exactly one of group, subject, certificate"),
        ('[[grant]]\ngroup = "a"\nsubject = "b"\nrole = "admin"', "exactly one of"),
        ('[[grant]]\ngroup = ""\nrole = "admin"', "exactly one of"),
        ('[[grant]]\ngroup = ["a"]\nrole = "admin"', "exactly one of"),
        ('[[grant]]\ngroup = "a"', "entry 1: role"),
        ('[[grant]]\ngroup = "a"\nrole = "root"', "viewer, identifier"),
        ('[[grant]]\ngroup = "a"\nrole = "admin"\ncollection = "staff"', "allowed are"),
        ('[[grant]]\ngroup = "a"\nrole = "admin"\ncollections = []', "collections"),
        ('[[grant]]\ngroup = "a"\nrole = "admin"\ncollections = "staff"', "collections"),
        ('[[grant]]\ngroup = "a"\nrole = "admin"\ncollections = ["a/b"]', "entry 1"),
        ('[[grant]]\ncertificate = "gate"\nrole = "admin"', "attributes of the subject"),
        ('[[grant]]\ncertificate = "FOO=gate"\nrole = "admin"', "attributes of the subject"),
    ],
)
def test_a_map_that_is_wrong_is_told_with_its_entry_and_what_is_allowed(text, said):
    with pytest.raises(BadSettings, match=said):
        read_map(text.encode("utf-8", "surrogateescape"))


def test_an_empty_map_gives_nothing():
    assert read_map(b"").of_token("ann", ["gate"]) == ()
