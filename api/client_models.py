"""The client's calls about models: list, import, activate, roll back, remove."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import cast
from urllib.parse import quote

from api.client_sending import Sender
from api.client_shapes import ActivationJson, ModelJson


class ModelCalls:
    """A part of the Client."""

    _sender: Sender

    def models(self) -> Iterator[ModelJson]:
        """The models that a collection can be given."""
        yield from self._sender.send("GET", "/v1/models").json()["items"]

    def model(self, name: str) -> ModelJson:
        """One of them; a bundle by its full name, or by its manifest's where only one has that."""
        return cast(ModelJson, self._sender.send("GET", _path(name)).json())

    def import_model(self, bundle: bytes, *, accept_licence: bool = False) -> ModelJson:
        """Import a signed bundle. accept_licence: of one that is not for commercial use.

        Raises: ClientError with code bad_bundle or untrusted_bundle, whose text says what is wrong.
        """
        path = "/v1/models" + ("?accept_licence=true" if accept_licence else "")
        files = {"bundle": ("bundle", bundle)}
        return cast(ModelJson, self._sender.send("POST", path, files=files, headers=_once()).json())

    def activate_model(self, name: str, *, accept_licence: bool = False) -> ActivationJson:
        """Give new collections of its kind this model."""
        body = {"accept_licence": accept_licence}
        answer = self._sender.send("POST", f"{_path(name)}/activate", json=body, headers=_once())
        return cast(ActivationJson, answer.json())

    def roll_back_model(self, name: str) -> ActivationJson:
        """Give new collections what they got before this model was activated."""
        return cast(ActivationJson, self._sender.send("POST", f"{_path(name)}/rollback", headers=_once()).json())

    def remove_model(self, name: str) -> None:
        """Forget a bundle that no collection uses."""
        self._sender.send("DELETE", _path(name), headers=_once())


def _path(name: str) -> str:
    return "/v1/models/" + quote(name, safe="")


def _once() -> dict[str, str]:
    return {"idempotency-key": secrets.token_hex(16)}
