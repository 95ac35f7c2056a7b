from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from index.postgres_connection import _require_safe, connection_params, translate
from lookalike.errors import (
    BadSettings,
    Conflict,
    LookalikeError,
    NotFound,
    StorageFull,
    StorageUnavailable,
    TamperedData,
    Unsafe,
)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:canary@host/db",
        "postgresql://user@host/db?password=canary",
        "postgresql://user@host/db?passfile=/canary",
        "postgresql://user@host/db?sslpassword=canary",
        "postgresql://user@/db?service=canary",
    ],
)
def test_a_secret_in_the_url_is_refused_and_not_repeated(url):
    with pytest.raises(BadSettings) as refused:
        connection_params(url, None)

    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("url", ["postgresql://", "postgresql:///db", "postgresql://user@/db", "postgresql://h/db?x=y"])
def test_a_url_that_names_no_host_or_an_unknown_setting_is_refused_with_what_is_allowed(url):
    with pytest.raises(BadSettings, match="USER@HOST:PORT/DATABASE"):
        connection_params(url, None)


def test_off_this_machine_the_server_must_prove_who_it_is():
    params = connection_params("postgresql://u@db.example.org/faces", None)

    assert (params["sslmode"], params["sslrootcert"]) == ("verify-full", "system")
    assert connection_params("postgresql://u@db.example.org/faces", Path("/ca.crt"))["sslrootcert"] == "/ca.crt"


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require"])
@pytest.mark.parametrize("host", ["db.example.org", "127.0.0.1,db.example.org", "192.0.2.1"])
def test_a_weaker_mode_is_refused_off_this_machine(mode, host):
    with pytest.raises(BadSettings, match="verify-full"):
        connection_params(f"postgresql://u@{host}/faces?sslmode={mode}", None)


def test_an_address_behind_a_local_name_counts_as_off_this_machine():
    assert connection_params("postgresql://u@localhost/f?hostaddr=192.0.2.1", None)["sslmode"] == "verify-full"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "%2Fvar%2Frun%2Fpostgresql"])
def test_on_this_machine_plain_connections_are_allowed(host):
    assert connection_params(f"postgresql://u@{host}/faces", None)["sslmode"] == "prefer"
    assert connection_params(f"postgresql://u@{host}/faces?sslmode=disable", None)["sslmode"] == "disable"


SHOWN = (Path("/client.crt"), Path("/client.key"))


def test_a_certificate_is_shown_only_to_a_server_that_proves_who_it_is():
    for url in ("postgresql://u@db.example.org/f", "postgresql://u@localhost/f"):
        params = connection_params(url, None, SHOWN)
        assert (params["sslmode"], params["sslrootcert"]) == ("verify-full", "system")
        assert (params["sslcert"], params["sslkey"]) == ("/client.crt", "/client.key")
        assert connection_params(url, Path("/ca.crt"), SHOWN)["sslrootcert"] == "/ca.crt"


@pytest.mark.parametrize("query", ["sslmode=prefer", "sslmode=disable", "sslmode=verify-ca", "sslcert=/other"])
def test_what_would_show_it_to_another_server_or_show_another_one_is_refused(query):
    with pytest.raises(BadSettings, match="LOOKALIKE_POSTGRESQL_CERTIFICATE"):
        connection_params(f"postgresql://u@localhost/f?{query}", None, SHOWN)


def test_what_the_url_sets_for_the_session_does_not_undo_what_durability_rests_on():
    options = connection_params("postgresql://u@localhost/f?options=-c%20synchronous_commit%3Doff", None)["options"]

    assert str(options).rindex("synchronous_commit=on") > str(options).rindex("synchronous_commit=off")


@pytest.mark.parametrize(
    "facts",
    [
        ("off", "on", "UTF8", "off", 150000),
        ("on", "off", "UTF8", "off", 150000),
        ("on", "on", "UTF8", "off", 149999),
    ],
)
def test_a_server_that_can_lose_what_it_confirmed_is_refused(facts):
    with pytest.raises(Unsafe):
        _require_safe(*facts)
    _require_safe("on", "on", "UTF8", "off", 150000)


def test_a_standby_and_a_database_of_another_encoding_are_refused():
    with pytest.raises(StorageUnavailable, match="standby"):
        _require_safe("on", "on", "UTF8", "on", 150000)
    with pytest.raises(BadSettings, match="SQL_ASCII"):
        _require_safe("on", "on", "SQL_ASCII", "off", 150000)


@pytest.mark.parametrize(
    ("state", "ours"),
    [
        ("53100", StorageFull),
        ("53300", StorageUnavailable),
        ("57014", StorageUnavailable),
        ("57P01", StorageUnavailable),
        ("57P03", StorageUnavailable),
        ("55P03", StorageUnavailable),
        ("25006", StorageUnavailable),
        ("08006", StorageUnavailable),
        ("40001", StorageUnavailable),
        ("23503", NotFound),
        ("23505", Conflict),
        ("23514", Conflict),
        ("23001", Conflict),
        ("XX001", TamperedData),
        ("42501", StorageUnavailable),
    ],
)
def test_each_state_of_the_server_has_an_error_of_ours(state: str, ours: type[LookalikeError]):
    assert type(translate(psycopg.errors.lookup(state)("of no interest"))) is ours


def test_a_connection_that_was_lost_says_so_without_the_servers_words():
    told = translate(psycopg.OperationalError("connection to server at canary failed"))

    assert isinstance(told, StorageUnavailable)
    assert "canary" not in str(told)
