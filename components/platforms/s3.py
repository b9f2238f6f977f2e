"""Reads and writes objects below a prefix of any S3-compatible store, and turns its errors into clear messages.

Use it by way of `slipway.components.platforms.storage`.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boto3.exceptions import Boto3Error
from boto3.s3.inject import inject_s3_transfer_methods
from boto3.s3.transfer import S3TransferRetriesExceededError, TransferConfig
from botocore.client import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    SSLError,
)
from botocore.loaders import create_loader
from botocore.session import Session

from slipway.components.clients.credentials import UNTRUSTED
from slipway.components.errors import BadInput
from slipway.components.platforms import authority

CONNECT_SECONDS = 3
READ_SECONDS = 20
ATTEMPTS = 2
"""Time limits and attempts of a request. They are short, so that an unreachable store is reported within seconds."""
BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
TRANSFER = TransferConfig(multipart_threshold=2**30)
"""Files of less than 1 GiB are sent in one request: some small S3 servers cannot join the parts of a multipart upload
(versitygw with --nometa)."""
DESCRIPTIONS = create_loader()
"""What botocore knows of services, for all clients: one that reads it itself takes a quarter of a second to make."""
NO_ACCESS = {
    "401",
    "403",
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "Unauthorized",
}
"""Error codes of a store that refuses access."""


class S3Location:
    """A prefix in a bucket. In all methods, `name` is relative to the prefix."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self.client, self.bucket, self.prefix = client, bucket, prefix

    def __str__(self) -> str:
        return f"bucket {self.bucket!r} at {_without_login(self.client.meta.endpoint_url)}"

    def key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def names(self) -> list[str]:
        return sorted(self.sizes())

    def sizes(self) -> dict[str, int]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.key(""))
        sizes = {str(item["Key"]): int(item["Size"]) for page in pages for item in page.get("Contents", [])}
        # Keys that end with a slash stand for folders; some tools create them.
        return {key.removeprefix(self.key("")): size for key, size in sizes.items() if not key.endswith("/")}

    def upload(self, path: Path, name: str, sent: Callable[[int], None] | None = None) -> None:
        with path.open("rb") as file:
            self.client.upload_fileobj(file, self.bucket, self.key(name), Config=TRANSFER, Callback=sent)

    def download(self, name: str, path: Path) -> None:
        with path.open("wb") as file:
            self.client.download_fileobj(self.bucket, self.key(name), file)

    def delete(self, *names: str) -> None:
        for name in sorted(names):
            self.client.delete_object(Bucket=self.bucket, Key=self.key(name))


@contextmanager
def opened(uri: str) -> Iterator[S3Location]:
    """The location that an S3 URI names. Errors of the store within the context become `BadInput`."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not re.fullmatch(BUCKET, bucket):
        raise BadInput(f"{uri!r} is not of the form s3://bucket/prefix with a valid bucket name (as in my-models-1)")
    try:
        location = S3Location(_client(), bucket, prefix.strip("/"))
    except (BotoCoreError, ValueError) as error:
        raise BadInput(f"S3 cannot be used for {uri}: {_without_login(str(error))}; check AWS_ENDPOINT_URL") from error
    try:
        yield location
    except ClientError as error:
        raise BadInput(_refusal(str(error.response.get("Error", {}).get("Code", "")), location)) from error
    except NoCredentialsError as error:
        advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise BadInput(f"no credentials for {location} were found; {advice}") from error
    except SSLError as error:
        raise BadInput(f"{location} {_no_trust(str(error))}") from error
    except (ConnectionError, HTTPClientError) as error:
        advice = "check AWS_ENDPOINT_URL (https:// where the store has TLS) and that the store runs"
        raise BadInput(f"{location} cannot be reached ({type(error).__name__}); {advice}") from error
    except (BotoCoreError, Boto3Error, S3TransferRetriesExceededError) as error:
        raise BadInput(f"{location} cannot be used: {_without_login(str(error))}") from error


def _client() -> Any:
    """A client with short time limits. For stores other than AWS it uses path-style addresses, and only the checksums
    that an operation requires, since many of them do not know the newer ones.
    """
    other_store = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    compatible: dict[str, Any] = {
        "s3": {"addressing_style": "path"},
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    retries = {"total_max_attempts": ATTEMPTS, "mode": "standard"}
    limits = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS, "retries": retries}
    session = Session()
    session.register_component("data_loader", DESCRIPTIONS)
    session.register("creating-client-class.s3", inject_s3_transfer_methods)
    return session.create_client("s3", config=Config(**limits, **(compatible if other_store else {})))


def _refusal(code: str, location: S3Location) -> str:
    if code == "NoSuchBucket":
        return f"{location} does not exist; create it or correct the URI"
    if code == "NoSuchKey":
        return f"{location} has no object {location.prefix!r}; correct the URI"
    if code == "404":
        return f"{location} answered 404 (not found); correct the URI, and AWS_ENDPOINT_URL if that is no S3 store"
    if code in NO_ACCESS:
        return f"{location} refuses access ({code}); check the credentials and what they are allowed to do"
    return f"{location} answered with the error {code or 'without a code'}; see the log of the store"


def _no_trust(error: str) -> str:
    if UNTRUSTED not in error:
        advice = f"check AWS_ENDPOINT_URL, and that {authority.OF_S3}, where it is set, is a PEM file with certificates"
        return f"cannot be used with TLS ({_without_login(error)}); {advice}"
    reason = error.partition(f"{UNTRUSTED}] ")[2].partition(" (_ssl")[0]
    return (
        f"shows a certificate that is not trusted ({reason}); set {authority.OF_S3} to a file with the certificate of "
        f"the authority that signed it ({authority.IN_CLUSTER})"
    )


def _without_login(text: str) -> str:
    """The text without user names and passwords in URLs."""
    return re.sub(r"//[^/@\s]*@", "//", text)
