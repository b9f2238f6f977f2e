"""Keeps the users of the S3 server of `manifests/`, one for each role, and the policy of the bucket.

    python -m slipway.components.platforms.store_users BUCKET ROLES READY [SECONDS]
        runs beside the server, in its pod, for as long as the server

steps       read, write and remove all objects in the bucket, but cannot change the bucket itself
trainers    read datasets, encoders and the configuration of a training; write its checkpoints, output and result
servers     read bundles

ROLES is a folder with the mounted Secrets of the roles (`ROLES/trainers/AWS_ACCESS_KEY_ID`). They are read every 15
seconds, or SECONDS: if a key has changed, the server gets the new one, and the former one is removed. READY is a file
that is made once the users exist. The key of the server itself and the addresses come from the environment
(AWS_ENDPOINT_URL_S3, and ADMIN_ENDPOINT of versitygw's API for administrators). No other pod has that key.

The policies of versitygw have no conditions. So a role that may list objects may list those of the whole bucket.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.client import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import URLLib3Session

from slipway.components.errors import BadInput
from slipway.components.platforms.mounted_credentials import of_roles

STEPS, TRAINERS, SERVERS = "steps", "trainers", "servers"
ROLES = (STEPS, TRAINERS, SERVERS)
ACCESS, SECRET = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
RETRY_SECONDS = 0.5
"""Pause between attempts until the users exist for the first time, since the server may still be starting."""
TRAINING = "trainings/????????????????"
"""Prefix of a training, whose name is a digest of 16 characters; see `slipway.components.train.pytorchjob`."""

WRITE = ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")


class User(NamedTuple):
    """The key of a role."""

    access: str
    """Id of the key, which is the name of the user as well."""
    secret: str


def users_in(folder: Path) -> dict[str, User]:
    """The users in the mounted Secrets, by role.

    Raises:
        BadInput: a role has no key, or two roles have the same.
    """
    users = {role: User(*pair) for role, pair in of_roles(folder, ROLES, (ACCESS, SECRET)).items()}
    server_access = os.environ.get(ACCESS, "")
    names = [server_access, *(user.access for user in users.values())]
    if len(set(names)) < len(names):
        raise BadInput(
            f"the server itself and the roles {', '.join(ROLES)} need an {ACCESS} each, and no two the same: what one "
            "may do the other could do too; remove the Secret of one, and run manifests/install.sh secrets"
        )
    return users


def policy(bucket: str, users: Mapping[str, User]) -> dict[str, Any]:
    """The policy of a bucket for these users. Deny takes precedence over Allow."""

    def statement(effect: str, role: str, actions: tuple[str, ...], *names: str) -> dict[str, Any]:
        resources = [f"arn:aws:s3:::{bucket}{path}" for name in names for path in _paths(name)]
        principal = {"AWS": users[role].access}
        return {"Effect": effect, "Principal": principal, "Action": list(actions), "Resource": resources}

    written = [f"{TRAINING}/{name}/*" for name in ("checkpoints", "newest", "launches/*/output", "launches/*/result")]
    inputs = [f"{TRAINING}/{name}/*" for name in ("dataset", "encoder", "launches/*/config")]
    statements = [
        statement("Allow", STEPS, ("s3:GetObject", "s3:DeleteObject", *WRITE), "*"),
        statement("Allow", STEPS, ("s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:GetBucketLocation"), ""),
        statement("Allow", TRAINERS, ("s3:GetObject",), "trainings/*", "uploads/encoders/*", "encoders/*"),
        statement("Allow", TRAINERS, WRITE, *written),
        statement("Allow", TRAINERS, ("s3:DeleteObject",), f"{TRAINING}/checkpoints/*"),
        statement("Deny", TRAINERS, (*WRITE, "s3:DeleteObject"), *inputs),
        statement("Deny", TRAINERS, ("s3:GetObject", "s3:DeleteObject", *WRITE), "bundles/*"),
        statement("Allow", SERVERS, ("s3:GetObject",), "bundles/*"),
        *(statement("Allow", role, ("s3:ListBucket", "s3:GetBucketLocation"), "") for role in (TRAINERS, SERVERS)),
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def _paths(name: str) -> Iterator[str]:
    """The paths of a name: in the bucket, and below any prefix in it, since the setting `store` may have a prefix."""
    yield f"/{name}" if name else ""
    if name and name != "*":
        yield f"/*/{name}"


class Administration:
    """Changes users and the bucket's policy, with the key of the server itself. It reads the environment."""

    def __init__(self) -> None:
        self._endpoint = os.environ["ADMIN_ENDPOINT"].rstrip("/")
        self._region = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
        self._credentials = Credentials(os.environ[ACCESS], os.environ[SECRET])
        self._http = URLLib3Session(timeout=10)
        self._s3 = boto3.client("s3", region_name=self._region, config=Config(s3={"addressing_style": "path"}))

    def apply(self, bucket: str, users: Mapping[str, User]) -> None:
        """Create or update the users, set the policy of the bucket, and remove all other users.

        Raises:
            BotoCoreError, ClientError: the server does not answer, or refuses.
        """
        existing = self._users()
        for user in users.values():
            secret = f"<Secret>{escape(user.secret)}</Secret>"
            if user.access in existing:
                self._call(f"update-user?access={quote(user.access)}", f"<MutableProps>{secret}</MutableProps>")
            else:
                properties = f"<Access>{escape(user.access)}</Access>{secret}<Role>user</Role>"
                self._call("create-user", f"<Account>{properties}</Account>")
        self._s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy(bucket, users)))
        for former in existing - {user.access for user in users.values()}:
            self._call(f"delete-user?access={quote(former)}")

    def _users(self) -> set[str]:
        root = ElementTree.fromstring(self._call("list-users"))
        return {element.text or "" for element in root.iter() if element.tag.rpartition("}")[2] == "Access"}

    def _call(self, operation: str, body: str = "") -> bytes:
        """Call versitygw's API for administrators; `operation` is its path with the query."""
        request = AWSRequest(method="PATCH", url=f"{self._endpoint}/{operation}", data=body.encode())
        S3SigV4Auth(self._credentials, "s3", self._region).add_auth(request)
        response = self._http.send(request.prepare())
        if response.status_code >= 400:
            error = {"Error": {"Code": str(response.status_code), "Message": response.text[:300]}}
            raise ClientError(error, operation.partition("?")[0])
        content: bytes = response.content
        return content


def main(bucket: str, folder: str, ready: str, interval_s: str = "15") -> None:
    """Keep the users as the Secrets state, until the process is stopped. Errors are printed, and tried again."""
    administration = Administration()
    applied: dict[str, User] = {}
    while True:
        try:
            users = users_in(Path(folder))
            if users != applied:
                administration.apply(bucket, users)
                applied = users
                Path(ready).touch()
                print("the users of the store are", {role: user.access for role, user in users.items()}, flush=True)
        except (BadInput, BotoCoreError, ClientError) as error:
            print(f"the users of the store are not as they should be: {error}", file=sys.stderr, flush=True)
        time.sleep(float(interval_s) if applied else RETRY_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
