"""The S3 server of `manifests/`, for tests: the program versitygw on this machine, with the users of its roles."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import boto3
import pytest
from botocore.client import Config

from slipway.components.platforms import store_users
from slipway.components.platforms.store_users import ACCESS, ROLES, SECRET

ROOT_KEY = {ACCESS: "root", SECRET: "root-secret-of-the-tests"}
PLACES = ("/usr/local/bin", "/var/lib/kit-cluster/bin")
"""Besides PATH; the second is where the cluster of the tests has it."""


@dataclass(frozen=True)
class Store:
    """A server with the bucket `slipway`."""

    endpoint: str
    admin: str
    """Address of the interface for administrators."""
    roles: Path
    """The folder with the Secrets of the roles."""
    log: Path

    def client(self, access: str, secret: str) -> Any:
        """A client with a key."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def of(self, role: str) -> Any:
        """A client with the key of a role."""
        return self.client(*((self.roles / role / name).read_text("utf-8") for name in (ACCESS, SECRET)))

    def environment(self, role: str) -> dict[str, str]:
        """What a program of a role has."""
        key = {name: (self.roles / role / name).read_text("utf-8") for name in (ACCESS, SECRET)}
        return key | {"AWS_ENDPOINT_URL_S3": self.endpoint, "AWS_DEFAULT_REGION": "us-east-1"}


def program() -> str:
    """Where versitygw is; without it the test is skipped."""
    found = shutil.which("versitygw", path=os.pathsep.join([os.environ.get("PATH", ""), *PLACES]))
    if not found:
        pytest.skip("versitygw is not installed")
    return found


def give(folder: Path, role: str, access: str, secret: str) -> None:
    """Write the Secret of a role as Kubernetes mounts it."""
    (folder / role).mkdir(parents=True, exist_ok=True)
    (folder / role / ACCESS).write_text(access, "utf-8")
    (folder / role / SECRET).write_text(secret, "utf-8")


@contextmanager
def running(
    folder: Path,
    look_seconds: float = 15.0,
    scheme: str = "http",
    of_server: Mapping[str, str] = MappingProxyType({}),
    of_users: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Store]:
    """A server, and beside it the program that makes its users, which are there when this begins; both may have more
    variables."""
    (folder / "data" / "slipway").mkdir(parents=True)
    (folder / "iam").mkdir()
    try:
        os.setxattr(folder, "user.tests", b"")
    except OSError:
        pytest.skip(f"{folder} is on a file system without extended attributes")
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
        address, admin = (f"127.0.0.1:{free.getsockname()[1]}" for free in (one, other))
    for role in ROLES:
        give(folder / "roles", role, f"{role}-key", f"{role}-secret-of-the-tests")
    store = Store(f"{scheme}://{address}", f"http://{admin}", folder / "roles", folder / "log")
    keys = os.environ | {"ROOT_ACCESS_KEY": ROOT_KEY[ACCESS], "ROOT_SECRET_KEY": ROOT_KEY[SECRET], **of_server}
    server: list[str | Path] = [
        program(),
        "--port",
        address,
        "--admin-port",
        admin,
        "--iam-dir",
        folder / "iam",
        "posix",
        folder / "data",
    ]
    environment = os.environ | ROOT_KEY | {"AWS_ENDPOINT_URL_S3": store.endpoint, "AWS_DEFAULT_REGION": "us-east-1"}
    environment |= {"ADMIN_ENDPOINT": f"http://{admin}", **of_users}
    ready = folder / "ready"
    beside = [sys.executable, "-m", store_users.__name__, "slipway", str(store.roles), str(ready), str(look_seconds)]
    with store.log.open("w") as log:
        processes = [
            subprocess.Popen(server, env=keys, stdout=log, stderr=log),
            subprocess.Popen(beside, env=environment, stdout=log, stderr=log),
        ]
        try:
            until(ready.exists, store)
            yield store
        finally:
            for process in processes:
                process.terminate()
                process.wait(10)


def until(happened: Callable[[], bool], store: Store, seconds: float = 30.0) -> None:
    """Wait for something, at most for some seconds; then the programs' own words are the error."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, store.log.read_text("utf-8")
        time.sleep(0.05)
