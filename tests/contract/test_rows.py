from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from lookalike.domain import Change, Op
from lookalike.errors import Conflict, NotFound
from lookalike.ports import AuditRow, CollectionRow, JobRow, SubjectRow, collection_setting

COLLECTION = CollectionRow("c1", b"lookup-c1", b"wrapped", b"sealed", 1.0)
SUBJECT = SubjectRow("s1", "c1", b"lookup-s1", b"wrapped", b"sealed", 1.0, 1.0)


@pytest.fixture
def filled(rows):
    """A store with collection c1, subject s1."""
    rows.write(lambda tx: tx.put_collection(COLLECTION))
    rows.write(lambda tx: tx.put_subject(SUBJECT))
    return rows


def add(rows, id, subject="s1", blobs=None):
    return rows.write(lambda tx: tx.add_sample(id, "c1", subject, b"sealed-" + id.encode(), 2.0, blobs or {}))


def test_a_new_store_is_empty(rows):
    reader = rows.read()

    assert reader.last_seq() == 0
    assert reader.collections() == reader.api_keys() == reader.audit_page(0, 10) == reader.changes(0, 10) == []
    assert reader.audit_tail() is reader.get_setting("x") is reader.collection_by_lookup(b"x") is None
    assert reader.count("c1") == (0, 0)


def test_settings_are_kept_and_replaced(rows):
    rows.write(lambda tx: tx.put_setting("root", b"one"))
    rows.write(lambda tx: tx.put_setting("root", b"two"))

    assert rows.read().get_setting("root") == b"two"


def test_settings_are_found_by_how_they_begin_and_can_be_taken_away(rows):
    for name in ("a", "a/", "a/1", "a/2", "a0", "b/1"):
        rows.write(lambda tx, name=name: tx.put_setting(name, name.encode()))
    assert rows.read().settings("a/") == {"a/": b"a/", "a/1": b"a/1", "a/2": b"a/2"}
    assert (rows.read().count_settings("a/"), rows.read().count_settings("c")) == (3, 0)
    assert rows.write(lambda tx: (tx.delete_setting("a/1"), tx.delete_setting("none"))) == (True, False)
    assert list(rows.read().settings("a/")) == ["a/", "a/2"]


def test_a_collection_is_found_by_its_lookup_and_replaced_by_its_id(filled):
    changed = replace(COLLECTION, lookup=b"other", payload=b"new")
    filled.write(lambda tx: tx.put_collection(changed))

    assert filled.read().collection_by_lookup(b"other") == changed
    assert filled.read().collection_by_lookup(b"lookup-c1") is None
    assert filled.read().count("c1") == (1, 0)


def test_two_collections_cannot_share_a_lookup(filled):
    with pytest.raises(Conflict):
        filled.write(lambda tx: tx.put_collection(replace(COLLECTION, id="c2")))

    assert [row.id for row in filled.read().collections()] == ["c1"]


def test_subjects_are_found_by_lookup_by_key_and_by_page(filled):
    others = [replace(SUBJECT, key=f"k{i}", lookup=f"l{i}".encode()) for i in range(5)]
    filled.write(lambda tx: [tx.put_subject(row) for row in others])
    reader = filled.read()

    assert reader.subject_by_lookup("c1", b"l3") == others[3]
    assert reader.subject_by_lookup("c2", b"l3") is None
    assert sorted(row.key for row in reader.subjects(["k1", "none", "k4"])) == ["k1", "k4"]
    assert reader.subjects([]) == []
    assert [row.key for row in reader.subjects_page("c1", "", 3)] == ["k0", "k1", "k2"]
    assert [row.key for row in reader.subjects_page("c1", "k2", 3)] == ["k3", "k4", "s1"]
    assert reader.count("c1") == (6, 0)


def test_a_subject_is_updated_in_place_and_cannot_change_its_collection(filled):
    filled.write(lambda tx: tx.put_collection(replace(COLLECTION, id="c2", lookup=b"c2")))
    filled.write(lambda tx: tx.put_subject(replace(SUBJECT, payload=b"new", updated_at=9.0)))

    assert filled.read().subjects(["s1"]) == [replace(SUBJECT, payload=b"new", updated_at=9.0)]
    assert filled.read().count("c1") == (1, 0)
    with pytest.raises(Conflict):
        filled.write(lambda tx: tx.put_subject(replace(SUBJECT, collection_id="c2")))


def test_a_wrapped_key_is_replaced_only_if_it_is_still_the_one_that_was_read(filled):
    others = [replace(SUBJECT, key=f"k{i}", lookup=f"l{i}".encode(), wrapped_key=b"a-old") for i in range(3)]
    filled.write(lambda tx: [tx.put_subject(row) for row in others])
    seq = filled.read().last_seq()

    wanted = [("k0", b"a-old", b"b-new"), ("k1", b"other", b"b-new"), ("k2", b"a-old", b"b-new"), ("no", b"a", b"b")]
    assert filled.write(lambda tx: tx.rewrap_subjects(wanted)) == 2
    assert filled.write(lambda tx: tx.rewrap_subjects([])) == 0

    found = {row.key: row for row in filled.read().subjects(["k0", "k1", "k2", "s1"])}
    assert {key: row.wrapped_key for key, row in found.items()} == {
        "k0": b"b-new", "k1": b"a-old", "k2": b"b-new", "s1": b"wrapped",
    }  # fmt: skip
    assert replace(found["k0"], wrapped_key=b"a-old") == others[0]
    assert filled.read().last_seq() == seq
    assert filled.read().count_wrapped("c1", 0, 2) == {b"a-": 1, b"b-": 2, b"wr": 1}
    assert filled.read().count_wrapped("c1", 2, 3) == {b"old": 1, b"new": 2, b"app": 1}
    assert filled.read().count_wrapped("none", 0, 2) == {}


def test_a_subject_without_its_collection_and_a_sample_without_its_subject_are_refused(filled):
    with pytest.raises(NotFound):
        filled.write(lambda tx: tx.put_subject(replace(SUBJECT, key="x", collection_id="gone")))
    with pytest.raises(NotFound):
        add(filled, "a", subject="gone")


def test_the_same_lookup_twice_in_a_collection_is_a_conflict(filled):
    with pytest.raises(Conflict):
        filled.write(lambda tx: tx.put_subject(replace(SUBJECT, key="s2")))

    assert filled.read().count("c1") == (1, 0)


def test_samples_keep_their_number_payload_and_pictures(filled):
    number = add(filled, "a", blobs={"crop": b"sealed crop", "image": b""})
    reader = filled.read()

    assert reader.sample_by_id("a") == reader.samples_of("s1")[0] == reader.samples_numbered([number])[0]
    assert reader.sample_by_id("a").payload == b"sealed-a"
    assert reader.blob("a", "crop") == b"sealed crop"
    assert reader.blob("a", "image") == b""
    assert reader.blob("a", "other") is reader.blob("b", "crop") is None


def test_a_sample_sent_again_is_left_as_it_is(filled):
    number = add(filled, "a", blobs={"crop": b"first"})
    before = filled.read().last_seq()

    assert add(filled, "a", blobs={"crop": b"second"}) == number
    assert filled.read().blob("a", "crop") == b"first"
    assert filled.read().last_seq() == before
    assert filled.read().count("c1") == (1, 1)


def test_a_sample_id_of_another_subject_is_a_conflict(filled):
    filled.write(lambda tx: tx.put_subject(replace(SUBJECT, key="s2", lookup=b"2")))
    add(filled, "a")

    with pytest.raises(Conflict):
        add(filled, "a", subject="s2")


def test_samples_are_paged_in_order_of_their_numbers(filled):
    numbers = [add(filled, f"id{i}") for i in (3, 1, 2)]
    reader = filled.read()

    assert numbers == sorted(numbers)
    assert [row.id for row in reader.samples_page("c1", 0, 2)] == ["id3", "id1"]
    assert [row.id for row in reader.samples_page("c1", numbers[1], 2)] == ["id2"]
    assert [row.number for row in reader.samples_numbered(list(reversed(numbers)))] == numbers


def test_a_number_is_never_given_again_even_after_its_sample_is_deleted(filled):
    first = add(filled, "a")
    assert filled.write(lambda tx: tx.delete_sample("a")) == first
    second = add(filled, "b")
    filled.write(lambda tx: tx.delete_subject("s1"))
    filled.write(lambda tx: tx.put_subject(SUBJECT))

    assert first < second < add(filled, "c")


def test_deleting_a_sample_takes_its_pictures_along(filled):
    add(filled, "a", blobs={"crop": b"x"})
    add(filled, "b")

    assert filled.write(lambda tx: tx.delete_sample("a")) is not None
    assert filled.write(lambda tx: tx.delete_sample("a")) is None
    assert filled.read().blob("a", "crop") is None
    assert filled.read().count("c1") == (1, 1)


def test_deleting_a_subject_takes_its_samples_along_and_names_their_numbers(filled):
    numbers = [add(filled, "a", blobs={"crop": b"x"}), add(filled, "b")]

    assert filled.write(lambda tx: tx.delete_subject("s1")) == numbers
    assert filled.write(lambda tx: tx.delete_subject("s1")) == []
    reader = filled.read()
    assert reader.subjects(["s1"]) == reader.samples_of("s1") == reader.samples_numbered(numbers) == []
    assert reader.blob("a", "crop") is None
    assert reader.count("c1") == (0, 0)


def test_deleting_a_collection_takes_all_of_it_along_and_nothing_else(filled):
    filled.write(lambda tx: tx.put_collection(replace(COLLECTION, id="c2", lookup=b"c2")))
    filled.write(lambda tx: tx.put_subject(replace(SUBJECT, key="other", collection_id="c2")))
    add(filled, "a", blobs={"crop": b"x"})
    filled.write(lambda tx: tx.put_calibration("c1", "", b"sealed"))
    for owner in ("c1", "c2"):
        filled.write(lambda tx, owner=owner: tx.put_setting(collection_setting(owner, "probes"), b"sealed"))

    filled.write(lambda tx: tx.delete_collection("c1"))

    reader = filled.read()
    assert [row.id for row in reader.collections()] == ["c2"]
    assert [row.key for row in reader.subjects(["s1", "other"])] == ["other"]
    assert reader.sample_by_id("a") is reader.blob("a", "crop") is reader.calibration("c1", "") is None
    assert reader.count("c1") == (0, 0)
    assert reader.count("c2") == (1, 0)
    assert list(reader.settings("collection/")) == ["collection/c2/probes"]


def test_each_write_of_a_record_is_a_step_of_the_change_sequence(rows):
    rows.write(lambda tx: tx.put_collection(COLLECTION))
    rows.write(lambda tx: tx.put_subject(SUBJECT))
    first, second = add(rows, "a"), add(rows, "b")
    rows.write(lambda tx: tx.delete_sample("a"))
    rows.write(lambda tx: tx.put_calibration("c1", "", b"sealed"))
    rows.write(lambda tx: tx.delete_subject("s1"))
    rows.write(lambda tx: tx.delete_collection("c1"))
    steps = rows.read().changes(0, 100)

    assert [(c.op, c.subject_key, c.number) for c in steps] == [
        (Op.PUT, None, None),
        (Op.PUT, "s1", None),
        (Op.PUT, "s1", first),
        (Op.PUT, "s1", second),
        (Op.DELETE, "s1", first),
        (Op.PUT, None, None),
        (Op.DELETE, "s1", second),
        (Op.DELETE, "s1", None),
        (Op.DELETE, None, None),
    ]
    assert [c.seq for c in steps] == list(range(1, 10))
    assert {c.collection_id for c in steps} == {"c1"}
    assert rows.read().last_seq() == 9
    assert rows.read().changes(7, 1) == [Change(8, Op.DELETE, "c1", "s1", None)]


def test_work_that_raises_leaves_nothing_behind_and_its_error_comes_through(filled):
    def work(tx):
        tx.put_setting("half", b"done")
        tx.delete_subject("s1")
        raise ZeroDivisionError("on purpose")

    before = filled.read().last_seq()
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        filled.write(work)

    assert filled.read().get_setting("half") is None
    assert filled.read().count("c1") == (1, 0)
    assert filled.read().last_seq() == before


def test_work_reads_its_own_writes_and_returns_its_result(filled):
    def work(tx):
        tx.put_setting("a", b"1")
        return tx.get_setting("a")

    assert filled.write(work) == b"1"


def test_others_do_not_see_a_write_before_it_is_committed(filled):
    seen = []

    def work(tx):
        tx.put_setting("a", b"1")
        seen.append(filled.read().get_setting("a"))

    filled.write(work)

    assert seen == [None]


def test_writes_from_many_threads_are_all_there_and_failures_stay_alone(filled):
    failed = []

    def write(worker):
        for i in range(40):
            try:
                if i % 4 == 3:
                    add(filled, f"bad{worker}-{i}", subject="gone")
                add(filled, f"{worker}-{i}", blobs={"crop": b"x" * 100})
            except NotFound:
                failed.append((worker, i))

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    kept = {row.id for row in filled.read().samples_of("s1")}
    assert kept == {f"{worker}-{i}" for worker in range(6) for i in range(40) if i % 4 != 3}
    assert len(failed) == 60
    assert filled.read().count("c1") == (1, len(kept))


def test_api_keys_are_kept_found_and_revoked(rows):
    rows.write(lambda tx: tx.put_api_key("k1", b"h1", b"sealed"))
    rows.write(lambda tx: tx.put_api_key("k1", b"h2", b"sealed again"))

    assert rows.read().api_keys() == [("k1", b"h2", b"sealed again")]
    assert rows.read().api_key_by_lookup(b"h2") == ("k1", b"h2", b"sealed again")
    assert rows.read().api_key_by_lookup(b"h1") is None
    assert rows.write(lambda tx: tx.delete_api_key("k1")) is True
    assert rows.write(lambda tx: tx.delete_api_key("k1")) is False


def test_the_audit_log_takes_entries_at_its_end_only(rows):
    entries = [AuditRow(seq, float(seq), bytes([seq]) * 32, b"sealed") for seq in (1, 2, 3)]
    for entry in entries:
        rows.write(lambda tx, entry=entry: tx.append_audit(entry))

    assert rows.read().audit_page(0, 2) == entries[:2]
    assert rows.read().audit_page(2, 10) == entries[2:]
    assert rows.read().audit_tail() == entries[2]
    for seq in (1, 3):
        with pytest.raises(Conflict):
            rows.write(lambda tx, seq=seq: tx.append_audit(replace(entries[0], seq=seq)))
    assert rows.read().audit_page(0, 10) == entries


def test_answers_are_remembered_until_they_are_old(rows):
    rows.write(lambda tx: tx.put_idempotent(b"k1", b"digest", b"answer", 10.0))
    rows.write(lambda tx: tx.put_idempotent(b"k2", b"digest", b"answer", 20.0))

    assert rows.read().idempotent(b"k1") == (b"digest", b"answer")
    assert rows.write(lambda tx: tx.forget_idempotent(15.0)) == 1
    assert rows.read().idempotent(b"k1") is None
    assert rows.read().idempotent(b"k2") is not None


def test_a_reader_made_on_one_thread_serves_another(filled):
    reader = filled.read()
    found = []
    thread = threading.Thread(target=lambda: found.append(reader.count("c1")))
    thread.start()
    thread.join()

    assert found == [(1, 0)]


def test_a_sample_has_templates_in_other_spaces_and_lacks_those_that_it_has_not(filled):
    a, b = add(filled, "a"), add(filled, "b")
    c = filled.write(lambda tx: tx.add_sample("c", "c1", "s1", b"own", 2.0, {}, "new"))
    before = filled.read().last_seq()
    assert filled.write(lambda tx: tx.put_template(a, "new", b"a in new")) is True
    assert filled.write(lambda tx: tx.put_template(99, "new", b"nobody's")) is False

    reader = filled.read()
    assert [(change.op, change.number) for change in reader.changes(before, 10)] == [(Op.PUT, a)]
    assert reader.templates([a, b, c], "new") == {a: b"a in new"}
    assert [row.number for row in reader.samples_lacking("c1", ["new"], 0, 10)] == [b]
    assert [row.number for row in reader.samples_lacking("c1", ["new", ""], 0, 10)] == []
    assert [row.number for row in reader.samples_lacking("c1", [""], 0, 10)] == [c]
    assert reader.samples_lacking("c1", ["new"], b, 10) == []
    assert (reader.count_lacking("c1", ["new"]), reader.count_lacking("c1", ["third"])) == (1, 3)
    assert reader.samples_numbered([c])[0].space == "new" and reader.samples_numbered([a])[0].space == ""


def test_a_template_becomes_the_sample_s_own_or_is_dropped(filled):
    a, b = add(filled, "a"), add(filled, "b")
    for number in (a, b):
        filled.write(lambda tx, number=number: tx.put_template(number, "new", b"in new"))
    assert filled.write(lambda tx: tx.settle_sample(a, "new", b"in new")) is True
    assert filled.write(lambda tx: tx.settle_sample(99, "new", b"in new")) is False

    row = filled.read().samples_numbered([a])[0]
    assert (row.space, row.payload) == ("new", b"in new")
    assert filled.read().templates([a, b], "new") == {b: b"in new"}
    assert filled.write(lambda tx: tx.drop_templates("c2", "new", 0, 10)) is None
    assert filled.read().templates([a, b], "new") == {b: b"in new"}


def test_templates_of_a_space_are_dropped_page_by_page_and_others_stay(filled):
    numbers = [add(filled, id) for id in ("a", "b", "c")]
    for number in numbers:
        for space in ("new", "newer"):
            filled.write(lambda tx, number=number, space=space: tx.put_template(number, space, b"t"))
    assert filled.write(lambda tx: tx.drop_templates("c1", "new", 0, 2)) == numbers[1]
    assert list(filled.read().templates(numbers, "new")) == [numbers[2]]
    assert filled.write(lambda tx: tx.drop_templates("c1", "new", numbers[1], 2)) == numbers[2]
    assert filled.write(lambda tx: tx.drop_templates("c1", "new", numbers[2], 2)) is None
    assert filled.read().templates(numbers, "new") == {}
    assert len(filled.read().templates(numbers, "newer")) == 3


def test_templates_go_with_their_subject(filled):
    a = add(filled, "a")
    filled.write(lambda tx: tx.put_template(a, "new", b"in new"))
    filled.write(lambda tx: tx.delete_subject("s1"))
    assert filled.read().templates([a], "new") == {}


def test_jobs_are_taken_in_order_once_and_again_when_their_lease_has_run_out(filled):
    for n, (state, leased) in enumerate((("done", 0.0), ("queued", 0.0), ("running", 50.0), ("queued", 0.0))):
        row = JobRow(f"j{n}", "c1" if n == 3 else None, state, float(n), float(n), leased, b"sealed")
        filled.write(lambda tx, row=row: tx.put_job(row))

    assert [row.id for row in filled.read().jobs(3)] == ["j3", "j2", "j1"]
    first = filled.write(lambda tx: tx.claim_job(10.0, 20.0))
    assert first == JobRow("j1", None, "running", 1.0, 10.0, 20.0, b"sealed")
    assert filled.write(lambda tx: tx.claim_job(10.0, 20.0)).id == "j3"
    assert filled.write(lambda tx: tx.claim_job(10.0, 20.0)) is None
    assert filled.write(lambda tx: tx.claim_job(20.0, 90.0)).id == "j1"
    assert filled.write(lambda tx: tx.claim_job(60.0, 90.0)).id == "j2"
    assert filled.write(lambda tx: tx.delete_jobs(100.0)) == 1
    filled.write(lambda tx: tx.delete_collection("c1"))
    assert [row.id for row in filled.read().jobs(10)] == ["j2", "j1"]


def test_a_job_that_is_to_wait_is_left_alone_until_then(filled):
    filled.write(lambda tx: tx.put_job(JobRow("j", None, "queued", 1.0, 1.0, 30.0, b"sealed")))

    assert filled.write(lambda tx: tx.claim_job(29.0, 40.0)) is None
    assert filled.write(lambda tx: tx.claim_job(30.0, 40.0)).id == "j"


def test_a_lease_of_a_clock_that_ran_ahead_is_not_waited_for(filled):
    filled.write(lambda tx: tx.put_job(JobRow("j", None, "running", 3600.0, 3600.0, 3608.0, b"sealed")))

    assert filled.write(lambda tx: tx.claim_job(10.0, 18.0)).id == "j"


def test_all_that_hangs_on_samples_is_found_by_their_numbers(filled):
    first, second = add(filled, "a", blobs={"crop": b"ca", "image": b"ia"}), add(filled, "b", blobs={"crop": b"cb"})
    filled.write(lambda tx: [tx.put_template(first, space, space.encode()) for space in ("x", "y")])
    filled.write(lambda tx: [tx.put_calibration("c1", space, space.encode()) for space in ("", "x")])
    reader = filled.read()

    assert sorted(reader.blobs_of([first, 999])) == [(first, "crop", b"ca"), (first, "image", b"ia")]
    assert reader.blobs_of([second]) == [(second, "crop", b"cb")]
    assert sorted(reader.templates_of([first, second])) == [(first, "x", b"x"), (first, "y", b"y")]
    assert reader.calibrations("c1") == {"": b"", "x": b"x"}
    assert reader.calibrations("c2") == {}


def test_the_last_number_is_told_also_after_its_sample_is_gone(filled):
    assert filled.read().last_number() == 0
    number = add(filled, "a")
    filled.write(lambda tx: tx.delete_sample("a"))

    assert filled.read().last_number() == number


def test_numbers_and_changes_go_on_above_what_was_skipped_and_never_go_back(filled):
    filled.write(lambda tx: tx.skip_to(1 << 32, 1 << 33))
    number = add(filled, "a")
    filled.write(lambda tx: tx.skip_to(5, 5))

    assert number == (1 << 32) + 1
    assert add(filled, "b") == number + 1
    assert filled.read().last_seq() > 1 << 33
    assert [change.number for change in filled.read().changes(1 << 33, 10)] == [number, number + 1]


def test_a_snapshot_sees_one_state_while_others_write_on(filled):
    add(filled, "a")
    with filled.snapshot() as frozen:
        add(filled, "b")
        filled.write(lambda tx: tx.delete_sample("a"))
        filled.write(lambda tx: tx.put_setting("later", b"1"))

        assert [row.id for row in frozen.samples_page("c1", 0, 10)] == ["a"]
        assert (frozen.count("c1"), frozen.get_setting("later")) == ((1, 1), None)
    assert [row.id for row in filled.read().samples_page("c1", 0, 10)] == ["b"]
    assert filled.scrub(), "nothing holds the log any more"
