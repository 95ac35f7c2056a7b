"""The client's calls about models: list, import, activate, roll back, remove."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from api.client_calls import Calls, path_of
from api.client_shapes import ActivationJson, ModelJson


class ModelCalls(Calls):
    """A part of the Client."""

    def models(self) -> Iterator[ModelJson]:
        """The models that a collection can be given."""
        yield from cast("Iterator[ModelJson]", self._pages(path_of("models")))

    def model(self, name: str) -> ModelJson:
        """One of them; a bundle by its full name, or by its manifest's where only one has that."""
        return cast(ModelJson, self._read(path_of("models", name)))

    def import_model(self, bundle: bytes, *, accept_licence: bool = False) -> ModelJson:
        """Import a signed bundle. accept_licence: of one that is not for commercial use.

        Raises: ClientError with code bad_bundle or untrusted_bundle, whose text says what is wrong.
        """
        path = path_of("models") + ("?accept_licence=true" if accept_licence else "")
        return cast(ModelJson, self._write("POST", path, files={"bundle": ("bundle", bundle)}))

    def activate_model(self, name: str, *, accept_licence: bool = False) -> ActivationJson:
        """Give new collections of its kind this model."""
        body = {"accept_licence": accept_licence}
        return cast(ActivationJson, self._write("POST", path_of("models", name, "activate"), body))

    def roll_back_model(self, name: str) -> ActivationJson:
        """Give new collections what they got before this model was activated."""
        return cast(ActivationJson, self._write("POST", path_of("models", name, "rollback")))

    def remove_model(self, name: str) -> None:
        """Forget a bundle that no collection uses."""
        self._write("DELETE", path_of("models", name))
