"""What was signed verifies, and every change of it is refused, also by the two commands that users are told to run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.supply.conftest import ROOT, Signed, make_pair, run


def test_what_was_signed_verifies_by_the_script_and_by_openssl_alone(signed: Signed) -> None:
    assert signed.verify().returncode == 0
    by_hand = ("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", signed.public, "-rawin")
    done = run(*by_hand, "-in", "SHA256SUMS", "-sigfile", "SHA256SUMS.sig", cwd=signed.folder)
    assert "Signature Verified Successfully" in done.stdout
    assert run("sha256sum", "--quiet", "--strict", "--check", "SHA256SUMS", cwd=signed.folder).returncode == 0


def _changed(release: Signed) -> None:
    (release.folder / "one.whl").write_text("One.whl")


def _missing(release: Signed) -> None:
    (release.folder / "two.tar.gz").unlink()


def _added(release: Signed) -> None:
    (release.folder / "deep er" / "four").touch()


def _linked(release: Signed) -> None:
    (release.folder / "five").symlink_to("/etc/passwd")


def _listed_anew(release: Signed) -> None:
    _changed(release)
    run(ROOT / "deploy/sign-release", release.folder)


def _listed_anew_beside_the_old_signature(release: Signed) -> None:
    old = (release.folder / "SHA256SUMS.sig").read_bytes()
    _listed_anew(release)
    (release.folder / "SHA256SUMS.sig").write_bytes(old)


def _signed_by_another(release: Signed) -> None:
    other, _ = make_pair(release.key.parent, "other")
    assert run(ROOT / "deploy/sign-release", release.folder, other).returncode == 0


def _emptied(release: Signed) -> None:
    (release.folder / "SHA256SUMS").write_text("")


def _key_of_another_kind(release: Signed) -> None:
    _, public = make_pair(release.key.parent, "x448", "ed448")
    shutil.copy(public, release.public)


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (_changed, "not what was signed"),
        (_missing, "not what was signed"),
        (_added, "not in the signed list: deep er/four"),
        (_linked, "not in the signed list: five"),
        (_listed_anew, "not signed"),
        (_listed_anew_beside_the_old_signature, "was not signed by this key"),
        (_signed_by_another, "was not signed by this key"),
        (_emptied, "was not signed by this key"),
        (_key_of_another_kind, "no Ed25519 public key"),
    ],
)
def test_every_change_is_refused(signed: Signed, attack, said: str) -> None:
    attack(signed)

    refused = signed.verify()

    assert refused.returncode == 1
    assert said in refused.stderr


@pytest.fixture
def bundle(tmp_path: Path, signed: Signed) -> Signed:
    """The folder deploy/ as a signed bundle has it."""
    folder = tmp_path / "bundle"
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
    assert run(ROOT / "deploy/sign-release", folder, signed.key).returncode == 0
    return Signed(folder, signed.key, signed.public)


def install(bundle: Signed, root: Path, *options: object):
    return run(bundle.folder / "deploy/install", "--root", root, *options)


def test_install_takes_a_signed_bundle_and_keeps_the_key_for_upgrades(bundle: Signed, tmp_path: Path) -> None:
    root = tmp_path / "root"
    done = install(bundle, root, "--release-key", bundle.public)
    assert done.returncode == 0, done.stderr
    assert (root / "etc/lookalike/release.pub").read_bytes() == bundle.public.read_bytes()

    _signed_by_another(bundle)
    refused = install(bundle, root)

    assert refused.returncode == 1
    assert "nothing was installed" in refused.stderr


def test_install_refuses_a_changed_bundle_before_it_lays_anything_out(bundle: Signed, tmp_path: Path) -> None:
    (bundle.folder / "deploy/healthcheck.py").write_text("changed")

    for options in ((), ("--release-key", bundle.public)):
        assert install(bundle, tmp_path / "root", *options).returncode == 1
        assert not (tmp_path / "root").exists()


def test_install_without_the_key_that_was_named_is_refused(bundle: Signed, tmp_path: Path) -> None:
    refused = install(bundle, tmp_path / "root", "--release-key", tmp_path / "none.pub")

    assert "cannot be read" in refused.stderr
    assert not (tmp_path / "root").exists()
