"""A root that Vault wraps, against a server that speaks transit's port over HTTPS; each failure says what mends it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lookalike.errors import BadSettings, KeyUnavailable
from security.certificates import make_ca, make_server
from security.keys import open_key_ring
from security.root_key import root_key
from security.root_places import RootAccess
from security.root_vault import SETTING, read_spec
from tests.security.vault_double import TOKEN, TransitKey, Vault, serving

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    ca = make_ca("test", b"pw", NOW)
    server = make_server(ca, ("localhost",), b"pw", NOW)
    (folder / "ca.crt").write_bytes(ca.certificate)
    (folder / "server.crt").write_bytes(server.certificate)
    (folder / "server.key").write_bytes(server.key)
    return folder


@pytest.fixture
def vault(certificates: Path) -> Iterator[Vault]:
    with serving(certificates / "server.crt", certificates / "server.key", "pw") as made:
        made.keys["lookalike"] = TransitKey()
        yield made


@pytest.fixture
def access(tmp_path: Path, certificates: Path) -> RootAccess:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o400)
    return RootAccess(vault_token_file=token, vault_ca=certificates / "ca.crt")


def spec(vault: Vault, key: str = "lookalike") -> str:
    return f"vault:{vault.url}/transit/{key}"


def test_a_first_start_wraps_a_root_and_the_next_one_unwraps_it(memory, tmp_path, vault, access):
    first = open_key_ring(spec(vault), tmp_path, memory, access=access)
    again = open_key_ring(spec(vault), tmp_path, memory, access=access)
    assert again.root.id == first.root.id
    assert [path for _, path in vault.asked] == [
        "/v1/transit/keys/lookalike", "/v1/transit/encrypt/lookalike",
        "/v1/transit/decrypt/lookalike", "/v1/transit/decrypt/lookalike",
    ]  # fmt: skip


def test_the_root_key_stands_nowhere_but_wrapped(memory, tmp_path, vault, access):
    root = root_key(spec(vault), tmp_path, memory, fresh=True, access=access)
    held = b"".join(memory.tables.settings.values())
    assert root.material not in held and TOKEN.encode() not in held
    assert b"vault:v1:" in memory.tables.settings[SETTING]


def test_processes_that_start_at_once_use_one_root(memory, tmp_path, vault, access):
    one = root_key(spec(vault), tmp_path, memory, fresh=True, access=access)
    two = root_key(spec(vault), tmp_path, memory, fresh=True, access=access)
    assert one.id == two.id


def test_a_newer_version_in_vault_still_opens_what_an_older_one_wrapped(memory, tmp_path, vault, access):
    root = root_key(spec(vault), tmp_path, memory, fresh=True, access=access)
    vault.keys["lookalike"].versions[2] = b"2" * 32
    assert root_key(spec(vault), tmp_path, memory, fresh=False, access=access).id == root.id

    vault.keys["lookalike"].minimum = 2
    with pytest.raises(KeyUnavailable, match="too old"):
        root_key(spec(vault), tmp_path, memory, fresh=False, access=access)


def test_a_token_that_may_only_encrypt_and_decrypt_is_enough(memory, tmp_path, vault, access):
    vault.rights = {"encrypt", "decrypt"}
    assert root_key(spec(vault), tmp_path, memory, fresh=True, access=access)


def test_a_key_is_never_made_by_a_typing_error(memory, tmp_path, vault, access):
    with pytest.raises(KeyUnavailable, match="no key 'lokalike'"):
        root_key(spec(vault, "lokalike"), tmp_path, memory, fresh=True, access=access)
    assert list(vault.keys) == ["lookalike"]
    assert memory.tables.settings == {}


def test_a_derived_key_is_refused(memory, tmp_path, vault, access):
    vault.keys["lookalike"].derived = True
    with pytest.raises(KeyUnavailable, match="not derived"):
        root_key(spec(vault), tmp_path, memory, fresh=True, access=access)


def test_another_key_of_the_same_vault_opens_nothing(memory, tmp_path, vault, access):
    root_key(spec(vault), tmp_path, memory, fresh=True, access=access)
    vault.keys["other"] = TransitKey()
    with pytest.raises(KeyUnavailable, match="authentication failed"):
        root_key(spec(vault, "other"), tmp_path, memory, fresh=False, access=access)


@pytest.mark.parametrize("held", [b"{}", b"[]", b"null", b"\xff", b'{"wrapped": "vault:v1:!"}', b'{"wrapped": ""}'])
def test_a_wrapped_root_that_was_changed_is_refused(memory, tmp_path, vault, access, held):
    root_key(spec(vault), tmp_path, memory, fresh=True, access=access)
    memory.tables.settings[SETTING] = held
    with pytest.raises(KeyUnavailable):
        root_key(spec(vault), tmp_path, memory, fresh=False, access=access)


def test_a_lost_root_says_what_is_lost_and_what_to_do(memory, tmp_path, vault, access):
    open_key_ring(spec(vault), tmp_path, memory, access=access)
    del vault.keys["lookalike"]
    with pytest.raises(KeyUnavailable, match=r"nothing that is stored can be read.*restore a backup"):
        open_key_ring(spec(vault), tmp_path, memory, access=access)


# ---------------------------------------------------------------------------------- what can be wrong with Vault


def test_a_sealed_vault_is_told(memory, tmp_path, vault, access):
    vault.sealed = True
    with pytest.raises(KeyUnavailable, match="is sealed or not ready"):
        root_key(spec(vault), tmp_path, memory, fresh=True, access=access)


def test_a_denied_token_is_told_with_the_right_that_it_lacks(memory, tmp_path, vault, access):
    vault.rights = {"keys", "encrypt"}
    with pytest.raises(KeyUnavailable, match=r"denies the token: .* update transit/decrypt/lookalike") as refused:
        root_key(spec(vault), tmp_path, memory, fresh=True, access=access)
    assert TOKEN not in str(refused.value)


def test_a_vault_that_is_away_is_told(memory, tmp_path, vault, access):
    with pytest.raises(KeyUnavailable, match="cannot be reached"):
        root_key("vault:https://localhost:1/transit/lookalike", tmp_path, memory, fresh=True, access=access)


def test_a_certificate_that_is_not_trusted_is_told_and_gets_no_token(memory, tmp_path, vault, access):
    with pytest.raises(KeyUnavailable, match=r"not trusted: LOOKALIKE_VAULT_CA"):
        root_key(spec(vault), tmp_path, memory, fresh=True, access=replace(access, vault_ca=None))
    assert vault.asked == []


def test_a_redirect_is_not_followed(memory, tmp_path, vault, access):
    vault.answers = [(307, {"location": "https://localhost:1/v1/transit/keys/lookalike"}, b"")]
    with pytest.raises(KeyUnavailable, match="is a standby"):
        root_key(spec(vault), tmp_path, memory, fresh=True, access=access)


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, b"<html>", "does not answer as Vault does"),
        (200, b"[]", "does not answer as Vault does"),
        (200, b'{"data": 3}', "does not answer as Vault does"),
        (200, b"x" * 100_000, "does not answer as Vault does"),
        (500, b"", "answers 500"),
        (429, b"", "is a standby"),
        (400, b'{"errors": ["one\\ntwo"]}', "refuses the root key: onetwo"),
    ],
)
def test_whatever_else_answers_is_told(memory, tmp_path, vault, access, status, body, told):
    vault.answers = [(status, {}, body)]
    with pytest.raises(KeyUnavailable, match=told):
        root_key(spec(vault), tmp_path, memory, fresh=True, access=access)


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o666])
def test_a_token_file_that_others_can_read_is_refused(memory, tmp_path, vault, access, mode):
    access.vault_token_file.chmod(mode)
    with pytest.raises(KeyUnavailable, match="chmod 400"):
        root_key(spec(vault), tmp_path, memory, fresh=True, access=access)
    assert vault.asked == []


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"a\nb", b"\xff\xfe", b"x" * 9000])
def test_a_token_file_that_holds_no_token_is_refused(memory, tmp_path, vault, access, content):
    access.vault_token_file.chmod(0o600)
    access.vault_token_file.write_bytes(content)
    with pytest.raises(KeyUnavailable):
        root_key(spec(vault), tmp_path, memory, fresh=True, access=access)
    assert vault.asked == []


def test_without_a_token_file_the_setting_is_named(memory, tmp_path, vault):
    with pytest.raises(BadSettings, match="LOOKALIKE_VAULT_TOKEN_FILE"):
        root_key(spec(vault), tmp_path, memory, fresh=True)


@pytest.mark.parametrize(
    "name",
    [
        "", "transit/key", "http://host:8200/transit/key", "https://host:8200/", "https://host:8200/key", "https:///a/b",
        "https://root:token@host/transit/key", "https://host/transit/key?x=1", "https://host/transit/key#x",
        "https://host/transit/../key", "https://host:99999/transit/key", "https://host:port/transit/key",
    ],
)  # fmt: skip
def test_a_url_that_names_no_key_over_https_is_a_bad_setting(name):
    with pytest.raises(BadSettings, match="LOOKALIKE_KEYS") as refused:
        read_spec(name)
    assert "root:token" not in str(refused.value)


def test_a_mount_may_lie_in_a_namespace():
    found = read_spec("https://vault.example:8200/team/transit/the%20key")
    assert found.path("decrypt") == "https://vault.example:8200/v1/team/transit/decrypt/the%20key"
