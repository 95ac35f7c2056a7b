from __future__ import annotations

import pytest

from lookalike.errors import BadSettings
from lookalike.settings import read_settings


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:canary@host/db",
        "postgresql://user:can/ary@host/db",
        "postgresql://user:can?ary@host/db",
        "postgresql://user:can@ary@host/db",
        "postgresql://user@host/db?password=canary",
        "postgresql://user@host/db?sslmode=verify-full&sslpassword=canary",
        "postgresql://user@host/db?passfile=/canary",
    ],
)
def test_a_password_in_the_url_of_the_records_is_refused_and_not_repeated(url):
    with pytest.raises(BadSettings, match="LOOKALIKE_POSTGRESQL_PASSWORD_FILE") as refused:
        read_settings(records=url)

    assert "can" not in str(refused.value)


@pytest.mark.parametrize("url", ["", "sqlite", "sqlite:other.db", "postgres://u@h/db", "mysql://u@h/db"])
def test_another_store_is_refused_with_what_is_allowed(url):
    with pytest.raises(BadSettings, match="sqlite: and postgresql://"):
        read_settings(records=url)


@pytest.mark.parametrize(
    "url", ["sqlite:", "postgresql://user@host:5432/db", "postgresql://u@h1:1,h2:2/db?sslmode=verify-ca"]
)
def test_both_stores_are_taken(url):
    assert read_settings(records=url).records == url


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "faces.example.org"])
def test_plaintext_is_refused_off_loopback(host):
    with pytest.raises(BadSettings, match="tls: off is accepted on a loopback address only"):
        read_settings(tls="off", host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_plaintext_is_allowed_where_nobody_else_can_listen(host):
    assert read_settings(tls="off", host=host).base_url.startswith("http://")
