from __future__ import annotations

import pytest

from api.traceparent import TraceParent, traceparent_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", True),
    ],
)
def test_a_caller_s_trace_is_read(value: str, sampled: bool) -> None:
    assert traceparent_of([(b"traceparent", value.encode())]) == TraceParent(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "canary",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
    ],
)
def test_what_is_not_to_the_letter_is_ignored(value: str) -> None:
    assert traceparent_of([(b"traceparent", value.encode())]) is None


def test_two_of_them_are_as_good_as_none() -> None:
    header = (b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())

    assert traceparent_of([header, header]) is None
    assert traceparent_of([(b"host", b"localhost")]) is None
