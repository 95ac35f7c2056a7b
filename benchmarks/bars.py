"""Every bar of the table in the security design, what was found when it was tried just now, and how to try it again.

    python benchmarks/bars.py [--long] [--only MATTER] [--out bars.json]

Most bars are attacks that tests make: they are run here, and a bar holds if all of its tests passed. Others are
figures, taken by benchmarks/attacks.py. A bar whose server is not at hand (see tests/services/) is `left out`, one that
nothing tries yet is `not measured`: neither is a pass. --long takes the counts that the design asks for, which take
hours; without it they are as small as in everyday tests: `pass, short`. Exit code 1: a bar failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import attacks
from benchmarks.embed import machine

ROOT = Path(__file__).resolve().parents[1]
PASS, SHORT, FAIL, LEFT_OUT, NOT_MEASURED = "pass", "pass, short", "fail", "left out", "not measured"


@dataclass(frozen=True, slots=True)
class Found:
    """state: one of the five above. figure: what was found, in words."""

    state: str
    figure: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar. tests: what shows it, below tests/; a file stands for all of its tests. measure: a figure of attacks.py.

    short, long: what is set for its tests in each variant. why: of a bar that nothing tries, what is missing.
    """

    matter: str
    bar: str
    tests: tuple[str, ...] = ()
    measure: Callable[[bool], Found] | None = None
    short: Mapping[str, str] = field(default_factory=dict)
    long: Mapping[str, str] = field(default_factory=dict)
    why: str = ""

    def command(self, long: bool) -> str:
        """What runs this bar alone."""
        if self.measure is not None:
            return f"python benchmarks/bars.py --only '{self.matter}'{' --long' if long else ''}"
        if not self.tests:
            return "–"
        settings = "".join(f"{name}={value} " for name, value in (self.long if long else self.short).items())
        return f"{settings}pytest {' '.join(f'tests/{test}' for test in self.tests)}"


# -------------------------------------------------------------------------------------------------- figures


def told(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def mutants(long: bool) -> Found:
    found = attacks.mutants(100_000 if long else 300, told)
    figure = f"{found.sent:,} mutants: {found.worker_deaths} deaths, {found.faults} of 5xx; {found.statuses}"
    return Found(PASS if not found.worker_deaths and not found.faults else FAIL, figure)


def huge_png(long: bool) -> Found:
    status, ms = attacks.huge()
    return Found(PASS if status == 413 and ms < 100 else FAIL, f"{status} in {ms:.0f} ms, least of 5")


def overload(long: bool) -> Found:
    found = attacks.overload(20 if long else 5, told)
    held = (
        found.goodput >= 0.8 * found.peak
        and found.accepted_p99 <= 5 * found.unloaded_p99
        and found.shed_p99 <= 100
        and found.shed > 0
        and not found.shed_without_retry_after
        and found.memory_after <= 1.2 * found.memory_before
    )
    shed = f"{found.shed} shed in {found.shed_p99:.0f} ms, {found.shed_without_retry_after} without Retry-After"
    figure = (
        f"goodput {found.goodput:.0f} of {found.peak:.0f}/s ({found.goodput / found.peak:.0%});"
        f" p99 {found.accepted_p99:.0f} ms, unloaded {found.unloaded_p99:.0f}"
        f" ({found.accepted_p99 / found.unloaded_p99:.1f}×); {shed};"
        f" memory {found.memory_after / found.memory_before - 1:+.0%}; {found.cores} cores"
    )
    if held and found.cores < 2:
        return Found(LEFT_OUT, f"{figure}: the bar asks for two")
    return Found(PASS if held else FAIL, figure)


def sqlite(long: bool) -> Found:
    from index.sqlite_rows import SqliteRows
    from index.stores import store_of

    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "records.db"
        rows = SqliteRows(path)
        rows.close()
        version = store_of("sqlite:").look(str(path)).removeprefix("SQLite ")
    held = tuple(int(part) for part in version.split(".")) >= (3, 51, 3)
    return Found(PASS if held else FAIL, f"SQLite {version}")


# ----------------------------------------------------------------------------------------------------- bars

BARS = (
    Bar(
        "tampering",
        "every bit flip, truncation, swap and splice is refused; not one byte of plaintext before its tag",
        (
            "property/test_envelope_properties.py",
            "security/test_vectors.py",
            "security/test_recipient.py::test_one_other_bit_anywhere_is_refused_before_a_byte_comes_out",
            "security/test_sealed_records.py::test_rows_swapped_between_subjects_or_changed_in_the_clear_are_refused",
            "security/test_sealed_records.py::test_collections_swapped_on_the_disk_are_refused",
            "security/test_sealed_snapshots.py",
            "api/backup/test_attacks.py",
            "lookalike/test_exports.py::test_a_file_that_was_changed_or_cut_anywhere_is_refused",
        ),
    ),
    Bar(
        "reading the disk",
        "canary names, vectors and pictures are found nowhere in data, WAL, temporary files or logs",
        (
            "security/test_canaries.py",
            "e2e/test_at_rest.py",
            "docs/test_papers.py::test_nothing_but_ids_times_sizes_and_words_of_ours_stands_in_the_clear",
        ),
    ),
    Bar("cores", "nor in cores", ("api/test_onprem.py::test_no_core_of_the_service_can_be_written_however_it_dies",)),
    Bar(
        "shredding",
        "after erase: no candidate, no readable record, no wrapped key in free pages, also after an older backup",
        (
            "security/test_canaries.py::test_after_erasure_the_wrapped_key_and_the_records_are_in_no_file",
            "index/test_sqlite_rows.py::test_what_is_erased_and_scrubbed_is_in_no_file",
            "security/test_rotation.py::test_an_erased_person_s_wrapped_key_of_before_opens_with_nothing_that_is_left",
            "api/backup/test_restore.py::"
            "test_a_backup_from_before_an_erasure_brings_nobody_back_nor_a_deleted_sample_collection_or_revoked_key",
            "e2e/test_backup.py",
        ),
    ),
    Bar(
        "rotation",
        "under load: 0 errors; then old versions refused",
        (
            "security/test_rotation.py::test_writes_and_reads_go_on_while_keys_are_rotated_again_and_again",
            "security/test_rotation.py::test_a_subject_s_row_of_before_the_rotation_is_refused",
            "security/test_rotation.py::test_the_collection_s_row_of_before_is_refused_with_all_its_subjects",
            "e2e/test_rotation.py",
        ),
    ),
    Bar(
        "access",
        "a generated matrix role × route × collection asserts every cell; an unlisted route fails the build",
        ("api/test_access.py", "api/test_compreface.py", "console/test_rights.py", "security/test_rbac.py"),
    ),
    Bar(
        "revocation",
        "within 5 s",
        (
            "security/test_tokens.py::test_a_key_revoked_here_is_refused_at_once_and_one_revoked_elsewhere_within_a_second",
            "security/test_sigv4.py::test_a_pair_revoked_elsewhere_signs_for_a_second_at_most",
            "api/test_identity.py::test_a_block_by_one_replica_holds_on_another_within_a_second",
            "console/test_sessions.py::test_a_revoked_key_ends_its_sessions_at_once",
            "e2e/test_main_job.py::test_who_has_no_key_or_a_revoked_one_is_turned_away",
        ),
    ),
    Bar("tokens", "hostile JWTs refused", ("security/test_access_tokens.py", "security/test_issuer.py")),
    Bar(
        "TLS",
        "1.3 by default, 1.2 with ECDHE-AEAD by choice; plaintext off loopback refused",
        (
            "security/test_tls.py",
            "api/test_server.py::test_it_says_ready_with_its_real_port_and_speaks_tls_1_3_and_http_1_1",
            "api/test_server.py::test_tls_1_2_is_refused_unless_allowed",
            "lookalike/test_settings.py::test_plaintext_is_refused_off_loopback",
        ),
    ),
    Bar(
        "TLS reload",
        "certificate reloaded in 5 s with no dropped request; a bad pair keeps the old one",
        ("security/test_tls_reload.py", "api/test_certificate_watch.py"),
    ),
    Bar(
        "input",
        "JPEG, PNG, WebP only; broken pictures are refusals",
        ("embedder/test_images.py", "api/test_zip_archive.py", "api/test_bodies.py"),
    ),
    Bar(
        "mutants",
        "0 worker deaths, 0 responses of 5xx over 100,000 mutants",
        measure=mutants,
        long={"mutants": "100,000"},
    ),
    Bar("huge PNG", "50,000×50,000 refused in under 100 ms", measure=huge_png),
    Bar(
        "models",
        "safetensors and ONNX without external data, verified before parsing; no pickle anywhere",
        (
            "architecture/test_no_pickle.py",
            "security/test_bundle_file.py",
            "security/test_bundle_vectors.py",
            "embedder/test_onnx_files.py::test_external_data_is_refused_in_weights_and_in_nodes",
            "embedder/test_onnx_files.py::test_external_data_is_refused_in_sparse_weights_and_in_functions",
            "embedder/test_onnx_files.py::"
            "test_operators_that_read_files_or_come_from_a_plug_in_are_refused_however_deep",
        ),
    ),
    Bar(
        "durability, storage",
        "1,000 kills -9 of the storage process under writes: 0 acknowledged lost, 0 doubled",
        (
            "faults/test_rows_kill.py::"
            "test_a_writer_killed_at_random_moments_loses_and_doubles_nothing_that_it_acknowledged",
        ),
        short={"LOOKALIKE_KILLS": "10"},
        long={"LOOKALIKE_KILLS": "1000"},
    ),
    Bar(
        "durability, service",
        "50 kills -9 of the whole service: 0 acknowledged lost, 0 doubled",
        ("e2e/test_kills.py",),
        short={"LOOKALIKE_KILLS": "3"},
        long={"LOOKALIKE_KILLS": "50"},
    ),
    Bar(
        "full disk",
        "507, reads go on, recovers by itself",
        (
            "index/test_sqlite_rows.py::test_a_full_disk_refuses_writes_goes_on_reading_and_recovers_by_itself",
            "faults/test_audit_refused.py::test_a_full_disk_refuses_with_507_and_the_service_recovers_by_itself",
            "e2e/test_job_faults.py::test_a_full_disk_refuses_writes_and_a_job_goes_on_by_itself_once_there_is_room",
        ),
    ),
    Bar("SQLite", "a version ≥ 3.51.3", measure=sqlite),
    Bar(
        "SQLite, older",
        "an SQLite that can lose data is refused",
        ("index/test_sqlite_rows.py::test_an_sqlite_that_can_lose_data_is_refused",),
    ),
    Bar(
        "overload",
        "at 3× capacity: goodput ≥ 80 % of peak, p99 of accepted ≤ 5× unloaded, shed within 100 ms with Retry-After,"
        " memory +20 % at most",
        measure=overload,
    ),
    Bar(
        "slow clients",
        "closed within 15 s, bodies when idle for 10 s, while others are served; an honest slow upload is not",
        (
            "api/test_server.py::test_silent_and_half_spoken_connections_are_closed_while_others_are_served",
            "api/test_server.py::test_headers_that_drip_are_closed_too",
            "api/test_server.py::test_a_tls_handshake_that_never_ends_is_closed",
            "api/test_server.py::test_an_honest_slow_upload_is_read",
            "api/test_limits.py",
        ),
    ),
    Bar(
        "Elasticsearch down",
        "refused or hanging: readiness false within 5 s, 503, never an empty 200; partial shards are an error",
        ("faults/test_elastic.py", "index/test_elastic_cluster.py", "e2e/test_elastic.py"),
    ),
    Bar("PostgreSQL down", "503 within 5 s, used again by itself", ("faults/test_postgres_away.py",)),
    Bar(
        "supply chain",
        "installs with --require-hashes; container: not root, read-only, no capabilities",
        ("deploy/test_compose.py", "deploy/test_install.py"),
    ),
    Bar("bill of materials", "SBOM equals what is installed", ("supply/test_inventory.py",)),
    Bar("way out", "no packet sent out", ("deploy/test_onprem.py",)),
)
"""The table, row by row; a row with several promises is several bars."""


# --------------------------------------------------------------------------------------------------- running


def tried(bars: list[Bar], long: bool) -> dict[str, Found]:
    """What the tests of these bars found, each test run once for all bars that share its settings."""
    groups: dict[tuple[tuple[str, str], ...], list[Bar]] = {}
    for bar in bars:
        groups.setdefault(tuple((bar.long if long else bar.short).items()), []).append(bar)
    found = {}
    for settings, group in groups.items():
        outcomes = _run(sorted({test for bar in group for test in bar.tests}), dict(settings))
        for bar in group:
            said = ", ".join(f"{name.removeprefix('LOOKALIKE_').lower()} {value}" for name, value in settings)
            found[bar.matter] = judged(bar, outcomes, said)
    return found


def _run(tests: list[str], settings: dict[str, str]) -> dict[str, list[str]]:
    """The outcomes of each test that was asked for: passed, failed, skipped; none where pytest could not run it."""
    told(f"running {len(tests)} tests and files of tests {settings or ''}")
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        done = subprocess.run(
            [*command, *(f"tests/{test}" for test in tests)],
            cwd=ROOT,
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        told("\n".join(line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR")))[:4000])
        cases = ET.parse(report).iter("testcase") if report.exists() else iter(())
        outcomes: dict[str, list[str]] = {test: [] for test in tests}
        for case in cases:
            name = f"{case.attrib['classname'].replace('.', '/').removeprefix('tests/')}.py::{case.attrib['name']}"
            for test in tests:
                if name == test or name.startswith((f"{test}::", f"{test}[")):
                    outcomes[test].append(_outcome(case))
    return outcomes


def _outcome(case: ET.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def judged(bar: Bar, outcomes: Mapping[str, list[str]], settings: str) -> Found:
    """A bar holds if something of each of its tests was run and nothing failed."""
    counts = Counter(outcome for test in bar.tests for outcome in outcomes[test])
    figure = ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items())) + (
        f"; {settings}" if settings else ""
    )
    if counts["failed"] or not all(outcomes[test] for test in bar.tests):
        return Found(FAIL, figure or "its tests could not be run")
    if any("passed" not in outcomes[test] for test in bar.tests):
        return Found(LEFT_OUT, figure)
    return Found(PASS, figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="the counts that the design asks for: hours")
    parser.add_argument("--only", action="append", help="a matter, such as 'huge PNG'; may be given again")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    bars = [bar for bar in BARS if asked.only is None or bar.matter in asked.only]
    if not bars:
        parser.error(f"--only: one of {', '.join(bar.matter for bar in BARS)}")
    began = time.monotonic()
    found = tried([bar for bar in bars if bar.tests], asked.long)
    for bar in bars:
        if bar.measure is not None:
            found[bar.matter] = bar.measure(asked.long)
        elif not bar.tests:
            found[bar.matter] = Found(NOT_MEASURED, bar.why)
    for bar in bars:
        if bar.long and not asked.long and found[bar.matter].state == PASS:
            found[bar.matter] = Found(SHORT, found[bar.matter].figure)
        print(f"{found[bar.matter].state:12}  {bar.matter}: {bar.bar}")
        print(f"{'':12}  found: {found[bar.matter].figure}")
        print(f"{'':12}  again: {bar.command(asked.long)}")
    states = Counter(each.state for each in found.values())
    print(", ".join(f"{n} {state}" for state, n in states.items()), f"in {time.monotonic() - began:.0f} s")
    if asked.out:
        rows = [{"matter": b.matter, "bar": b.bar, **asdict(found[b.matter])} for b in bars]
        asked.out.write_text(json.dumps({"long": asked.long, "bars": rows, "machine": machine()}, indent=2) + "\n")
    sys.exit(1 if states[FAIL] else 0)


if __name__ == "__main__":
    main()
