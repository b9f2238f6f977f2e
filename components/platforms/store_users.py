"""Who may do what in the S3 server of `manifests/`: a user for each role, and the policy of the bucket.

    python -m slipway.components.platforms.store_users BUCKET ROLES READY [SECONDS]
        beside the server, in its pod, while that runs

steps       read, write and remove everything in the bucket, and change nothing about it
trainers    read datasets, encoders and the configuration of a training; write its checkpoints, output and result
servers     read bundles

ROLES is a folder with the mounted Secrets of the roles (`ROLES/trainers/AWS_ACCESS_KEY_ID`). They are looked at every
15 seconds, or SECONDS: keys that change are taken over, and the former ones are removed. READY is a file that is made
once the users are there. The server's own key and addresses come from the environment (AWS_ENDPOINT_URL_S3, and
ADMIN_ENDPOINT of versitygw's interface for administrators), and nobody else has that key.

The policies of versitygw know no conditions, so who may list names of objects may list those of the whole bucket.
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
TRAINING = "trainings/????????????????"
"""Every training has a digest of 16 characters; see `slipway.components.train.pytorchjob`."""

WRITE = ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")


class User(NamedTuple):
    """What a role shows the server."""

    access: str
    secret: str


def users_in(folder: Path) -> dict[str, User]:
    """The users that mounted Secrets name, by role.

    Raises:
        BadInput: a role has no key, or two have the same.
    """
    found = {role: User(*pair) for role, pair in of_roles(folder, ROLES, (ACCESS, SECRET)).items()}
    own = os.environ.get(ACCESS, "")
    names = [own, *(user.access for user in found.values())]
    if len(set(names)) < len(names):
        raise BadInput(
            f"the server itself and the roles {', '.join(ROLES)} need an {ACCESS} each, and no two the same: what one "
            "may do the other could do too; remove the Secret of one, and run manifests/install.sh secrets"
        )
    return found


def policy(bucket: str, users: Mapping[str, User]) -> dict[str, Any]:
    """The policy of a bucket for these users; a refusal weighs more than what allows the same."""

    def statement(effect: str, role: str, actions: tuple[str, ...], *names: str) -> dict[str, Any]:
        resources = [f"arn:aws:s3:::{bucket}{place}" for name in names for place in _places(name)]
        principal = {"AWS": users[role].access}
        return {"Effect": effect, "Principal": principal, "Action": list(actions), "Resource": resources}

    written = [f"{TRAINING}/{name}/*" for name in ("checkpoints", "newest", "launches/*/output", "launches/*/result")]
    given = [f"{TRAINING}/{name}/*" for name in ("dataset", "encoder", "launches/*/config")]
    statements = [
        statement("Allow", STEPS, ("s3:GetObject", "s3:DeleteObject", *WRITE), "*"),
        statement("Allow", STEPS, ("s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:GetBucketLocation"), ""),
        statement("Allow", TRAINERS, ("s3:GetObject",), "trainings/*", "uploads/encoders/*", "encoders/*"),
        statement("Allow", TRAINERS, WRITE, *written),
        statement("Allow", TRAINERS, ("s3:DeleteObject",), f"{TRAINING}/checkpoints/*"),
        statement("Deny", TRAINERS, (*WRITE, "s3:DeleteObject"), *given),
        statement("Deny", TRAINERS, ("s3:GetObject", "s3:DeleteObject", *WRITE), "bundles/*"),
        statement("Allow", SERVERS, ("s3:GetObject",), "bundles/*"),
        *(statement("Allow", role, ("s3:ListBucket", "s3:GetBucketLocation"), "") for role in (TRAINERS, SERVERS)),
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def _places(name: str) -> Iterator[str]:
    """Where a name may be: below the bucket, and below any prefix in it, which a store may have."""
    yield f"/{name}" if name else ""
    if name and name != "*":
        yield f"/*/{name}"


class Administration:
    """Changes users and the bucket's policy as the server's own user; addresses and key are in the environment."""

    def __init__(self) -> None:
        self._endpoint = os.environ["ADMIN_ENDPOINT"].rstrip("/")
        self._region = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
        self._own = Credentials(os.environ[ACCESS], os.environ[SECRET])
        self._http = URLLib3Session(timeout=10)
        self._s3 = boto3.client("s3", region_name=self._region, config=Config(s3={"addressing_style": "path"}))

    def apply(self, bucket: str, users: Mapping[str, User]) -> None:
        """Make the users what they are to be, say what they may, and remove all others.

        Raises:
            BotoCoreError, ClientError: the server does not answer, or refuses.
        """
        there = self._users()
        for user in users.values():
            secret = f"<Secret>{escape(user.secret)}</Secret>"
            if user.access in there:
                self._ask(f"update-user?access={quote(user.access)}", f"<MutableProps>{secret}</MutableProps>")
            else:
                own = f"<Access>{escape(user.access)}</Access>{secret}<Role>user</Role>"
                self._ask("create-user", f"<Account>{own}</Account>")
        self._s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy(bucket, users)))
        for former in there - {user.access for user in users.values()}:
            self._ask(f"delete-user?access={quote(former)}")

    def _users(self) -> set[str]:
        answer = ElementTree.fromstring(self._ask("list-users"))
        return {found.text or "" for found in answer.iter() if found.tag.rpartition("}")[2] == "Access"}

    def _ask(self, what: str, body: str = "") -> bytes:
        request = AWSRequest(method="PATCH", url=f"{self._endpoint}/{what}", data=body.encode())
        S3SigV4Auth(self._own, "s3", self._region).add_auth(request)
        answer = self._http.send(request.prepare())
        if answer.status_code >= 400:
            said = {"Error": {"Code": str(answer.status_code), "Message": answer.text[:300]}}
            raise ClientError(said, what.partition("?")[0])
        content: bytes = answer.content
        return content


def main(bucket: str, folder: str, ready: str, look_seconds: str = "15") -> None:
    """Keep the users as the Secrets say, for ever; what goes wrong is told and tried again."""
    administration = Administration()
    known: dict[str, User] = {}
    while True:
        try:
            users = users_in(Path(folder))
            if users != known:
                administration.apply(bucket, users)
                known = users
                Path(ready).touch()
                print("the users of the store are", {role: user.access for role, user in users.items()}, flush=True)
        except (BadInput, BotoCoreError, ClientError) as error:
            print(f"the users of the store are not as they should be: {error}", file=sys.stderr, flush=True)
        time.sleep(float(look_seconds) if known else RETRY_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
