from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from api.commands.journal import Journal, journal_path, key_of, mark_of

MARK = mark_of("staff", "alice", b"picture")
OTHER = mark_of("staff", "bob", b"picture")


def test_what_was_added_is_known_to_the_next_run(tmp_path: Path) -> None:
    first = Journal(tmp_path / "state" / "j")
    first.add(MARK, "s1")
    first.close()

    second = Journal(tmp_path / "state" / "j")

    assert (second.sample_of(MARK), second.sample_of(OTHER)) == ("s1", None)
    second.close()


def test_a_line_that_a_kill_cut_short_costs_no_other_line(tmp_path: Path) -> None:
    whole = Journal(tmp_path / "j")
    whole.add(MARK, "s1")
    whole.close()
    with (tmp_path / "j").open("ab") as file:
        file.write(f"\n{OTHER[:20]}".encode())

    resumed = Journal(tmp_path / "j")
    resumed.add(OTHER, "s2")
    resumed.close()

    again = Journal(tmp_path / "j")
    assert (again.sample_of(MARK), again.sample_of(OTHER)) == ("s1", "s2")
    again.close()


def test_neither_name_nor_picture_can_be_read_from_it_and_others_cannot_open_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.add(mark_of("staff", "Alice Example", b"picture bytes"), "s1")
    journal.close()

    assert b"Alice" not in (tmp_path / "j").read_bytes()
    assert (tmp_path / "j").stat().st_mode & 0o077 == 0
    assert "staff" not in str(journal_path("staff"))


@given(st.lists(st.tuples(st.text(), st.text(), st.binary()), min_size=2, max_size=2, unique=True))
def test_two_different_enrolments_never_share_a_mark(pair: list[tuple[str, str, bytes]]) -> None:
    one, two = (
        mark_of(c.encode("utf-8", "replace").decode(), s.encode("utf-8", "replace").decode(), p) for c, s, p in pair
    )
    same = [tuple(x.encode("utf-8", "replace") if isinstance(x, str) else x for x in enrolment) for enrolment in pair]

    assert (one == two) == (same[0] == same[1])


def test_a_later_attempt_has_another_key_and_the_same_attempt_the_same() -> None:
    assert key_of(MARK, 0) == key_of(MARK, 0) != key_of(MARK, 1)
    assert len(key_of(MARK, 0)) <= 255
