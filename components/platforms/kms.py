"""Calls AWS KMS, or a service with the same API. Credentials are those of AWS (`AWS_*`, roles)."""

from typing import Any

from slipway.components.errors import BadInput


class KmsRefused(BadInput):
    """KMS answered with an error."""

    def __init__(self, key_id: str, code: str) -> None:
        super().__init__(f"KMS key {key_id!r} cannot be used ({code}); check id and permissions")
        self.code = code
        """The error code of KMS."""


def ask(operation: str, key_id: str, **arguments: Any) -> dict[str, Any]:
    """Call an operation of boto3's KMS client, and return the response.

    Args:
        operation: the method of the client, for example `decrypt`.
        key_id: id, ARN or alias of the key.
        arguments: further arguments of the method.

    Raises:
        KmsRefused: KMS answered with an error.
        BadInput: KMS cannot be reached.
    """
    import boto3  # imported here, since it is slow and few bundles need it
    from botocore.client import Config
    from botocore.exceptions import BotoCoreError, ClientError

    limits = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 3, "mode": "standard"})
    try:
        client = boto3.session.Session().client("kms", config=limits)
        response: dict[str, Any] = getattr(client, operation)(KeyId=key_id, **arguments)
    except ClientError as error:
        raise KmsRefused(key_id, error.response.get("Error", {}).get("Code", "")) from error
    except (BotoCoreError, ValueError) as error:
        raise BadInput(f"KMS cannot be used ({type(error).__name__}); check AWS_* region and credentials") from error
    return response
