"""Questions to AWS KMS, or a service with its API; access as usual for AWS (`AWS_*`, roles)."""

from typing import Any

from slipway.components.errors import BadInput


class KmsRefused(BadInput):
    """KMS answered, and did not do what it was asked for."""

    def __init__(self, key_id: str, code: str) -> None:
        super().__init__(f"KMS key {key_id!r} cannot be used ({code}); check id and permissions")
        self.code = code


def ask(operation: str, key_id: str, **arguments: Any) -> dict[str, Any]:
    """The answer to an operation of boto3's client.

    Raises:
        KmsRefused: KMS does not do it; `code` is that of its error.
        BadInput: KMS cannot be reached.
    """
    import boto3  # here, since it is slow to import and few bundles need it
    from botocore.client import Config
    from botocore.exceptions import BotoCoreError, ClientError

    limits = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 3, "mode": "standard"})
    try:
        client = boto3.session.Session().client("kms", config=limits)
        answer: dict[str, Any] = getattr(client, operation)(KeyId=key_id, **arguments)
    except ClientError as error:
        raise KmsRefused(key_id, error.response.get("Error", {}).get("Code", "")) from error
    except (BotoCoreError, ValueError) as error:
        raise BadInput(f"KMS cannot be used ({type(error).__name__}); check AWS_* region and credentials") from error
    return answer
