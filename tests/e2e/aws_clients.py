"""boto3 clients of a running service; every answer that they get is held against botocore's own service model."""

from __future__ import annotations

import json

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.e2e.aws_shapes import check


class Aws:
    """boto3 clients of the running service; every answer they get is held against botocore's own model."""

    def __init__(self, installation, client) -> None:
        self.installation, self.native = installation, client
        self.made = []
        self.ca = str(installation.data / "tls" / "ca.crt")

    def keys(self, *grants: dict[str, str], **options) -> dict[str, str]:
        return self.native.create_api_key("aws", list(grants) or [{"role": "admin"}], aws=True, **options)

    def client(self, *grants: dict[str, str], made: dict[str, str] | None = None, **config):
        made = made or self.keys(*grants)
        client = boto3.client(
            "rekognition",
            endpoint_url=self.installation.url,
            verify=self.ca,
            region_name="eu-central-1",
            aws_access_key_id=made["access_key_id"],
            aws_secret_access_key=made["secret_access_key"],
            config=Config(retries={"total_max_attempts": 1}, **config),
        )
        client.meta.events.register("after-call.rekognition", self._held_against_the_model)
        self.made.append(client)
        return client

    def close(self) -> None:
        for client in self.made:
            client.close()

    @staticmethod
    def _held_against_the_model(http_response, model, **_) -> None:
        if http_response.status_code == 200:
            check(json.loads(http_response.content), model.output_shape)


def refusal(call, **arguments) -> str:
    """The name of the error that a call ends with."""
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    error = refused.value.response
    assert error["ResponseMetadata"]["RequestId"] and error["Error"]["Message"]
    return error["Error"]["Code"]
