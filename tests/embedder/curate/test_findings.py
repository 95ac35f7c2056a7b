from __future__ import annotations

from embedder.curate.findings import FAULTS, Finding, in_order


def test_every_fault_says_what_it_means_and_what_to_do() -> None:
    assert all(fault.title and fault.meaning.endswith(".") and fault.advice.endswith(".") for fault in FAULTS.values())


def test_the_gravest_and_surest_come_first_and_a_path_is_moved_to_one_place_only() -> None:
    found = in_order(
        [
            Finding("misnamed", "a/1.png", "", 1.0, "move a/1.jpg"),
            Finding("mislabelled", "a/2.jpg", "", 0.7, "move b"),
            Finding("mislabelled", "a/1.png", "", 0.9, "move b"),
        ]
    )

    assert [(each.fault, each.path, each.action) for each in found] == [
        ("mislabelled", "a/1.png", "move b"),
        ("mislabelled", "a/2.jpg", "move b"),
        ("misnamed", "a/1.png", "look"),
    ]
