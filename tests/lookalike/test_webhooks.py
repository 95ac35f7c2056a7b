"""Where events may be sent, and who may say so."""

from __future__ import annotations

import pytest

from lookalike.errors import InvalidInput
from lookalike.webhooks import require_allowed

HOSTS = frozenset({"doors.internal", "siem.internal:9443", "127.0.0.1:8080", "[::1]:8080", "[fd00::7]"})


@pytest.mark.parametrize(
    "url",
    [
        "https://doors.internal/lookalike",
        "https://doors.internal:443/",
        "https://DOORS.internal/?token=x",
        "https://siem.internal:9443/in",
        "https://127.0.0.1:8080/",
        "http://127.0.0.1:8080/hook",
        "http://[::1]:8080/hook",
        "https://[fd00::7]/hook",
    ],
)
def test_a_listed_host_at_a_listed_port_is_allowed(url):
    assert require_allowed(url, HOSTS) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.internal/",
        "https://doors.internal:444/",
        "https://siem.internal/in",
        "https://siem.internal:9444/in",
        "http://doors.internal/",
        "http://[fd00::7]/hook",
        "https://doors.internal.evil.example/",
        "https://doors.internal@evil.example/",
        "https://user:secret@doors.internal/",
        "https://doors.internal\\@evil.example/",
        "https://doors.internal/\r\nx: y",
        "https://doors.internal /",
        "https://doörs.internal/",
        "https://doors.internal:0x1bb/",
        "https://doors.internal:99999/",
        "https:///hook",
        "//doors.internal/",
        "file:///etc/passwd",
        "ftp://doors.internal/",
        "",
        "https://doors.internal/" + "x" * 2_000,
    ],
)
def test_anything_else_is_refused_without_repeating_it(url):
    with pytest.raises(InvalidInput) as refused:
        require_allowed(url, HOSTS)
    assert len(url) < 8 or url not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_without_a_list_nothing_is_allowed():
    with pytest.raises(InvalidInput, match="LOOKALIKE_WEBHOOK_HOSTS"):
        require_allowed("https://doors.internal/", frozenset())
