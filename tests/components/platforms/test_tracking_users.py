"""A real MLflow server that asks for a login, as manifests/ run it: what strangers, steps and trainers may."""

import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import certifi
import httpx
import pytest
import yaml

from slipway.components.errors import BadInput
from slipway.components.platforms.model_registry import Registry
from slipway.components.platforms.tracking_users import ADMIN, ADMIN_PASSWORD, NAME, PASSWORD, logins_in
from slipway.components.train.tracking import Tracker
from tests.conftest import free_port

MANIFEST = Path(__file__).parents[3] / "manifests" / "base" / "mlflow.yaml"
DIGEST = "sha256:" + "0" * 64
SECRETS = {ADMIN_PASSWORD: "password-of-the-administrator", "MLFLOW_FLASK_SERVER_SECRET_KEY": "of-the-tests"}
LOGINS = ("steps", "trainers")


def give(folder: Path, role: str, name: str, password: str) -> None:
    """Write the Secret of a role as Kubernetes mounts it."""
    (folder / role).mkdir(parents=True, exist_ok=True)
    (folder / role / NAME).write_text(name, "utf-8")
    (folder / role / PASSWORD).write_text(password, "utf-8")


def prepare(folder: Path) -> str:
    """Run the init container's program of the manifest twice, with passwords that changed meanwhile; what it said."""
    _, deployment = _manifest()
    (program,) = deployment["initContainers"]
    python, flag, module, *given = _in(folder, program["command"])
    assert (python, flag) == ("python", "-m")
    for role in LOGINS:
        give(folder / "roles", role, role, f"password-of-{role}")
        give(folder / "former", role, role, f"former-password-of-{role}")
    former = [word.replace("/roles", "/former") for word in given]
    both = f"from {module} import main; main(*{former}); main(*{given})"  # one start of Python
    command = [sys.executable, "-c", both]
    done = subprocess.run(command, text=True, capture_output=True, check=True, env=os.environ | SECRETS)
    return done.stdout + done.stderr


def _manifest() -> tuple[str, dict[str, list[dict[str, list[str]]]]]:
    """The server's configuration and its pod."""
    objects = {item["kind"]: item for item in yaml.safe_load_all(MANIFEST.read_text("utf-8"))}
    return objects["ConfigMap"]["data"]["auth.ini"], objects["Deployment"]["spec"]["template"]["spec"]


def _in(folder: Path, words: list[str]) -> list[str]:
    return [word.replace("/data", f"{folder}/data").replace("/roles", f"{folder}/roles") for word in words]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the arguments of the manifest and the logins of the roles."""
    folder = tmp_path_factory.mktemp("mlflow")
    (folder / "data").mkdir()
    said = prepare(folder)
    assert not [word for word in ("password-of", *SECRETS.values()) if word in said]
    configuration, deployment = _manifest()
    (folder / "auth.ini").write_text(_in(folder, [configuration])[0], "utf-8")
    (container,) = deployment["containers"]
    port = free_port()
    given = [word for word in _in(folder, container["args"]) if not word.startswith(("--host", "--port"))]
    command = [sys.executable, "-m", "mlflow", "server", *given, "--host=127.0.0.1", f"--port={port}"]
    environment = os.environ | {"MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini")}
    environment |= {"MLFLOW_FLASK_SERVER_SECRET_KEY": "of-the-tests", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            until_healthy(address, folder / "log")
            yield address
        finally:
            process.terminate()
            process.wait(20)


def until_healthy(address: str, log: Path, seconds: float = 240.0, trusted: str = certifi.where()) -> None:
    """Wait for the server's answer, which needs no login."""
    trust = ssl.create_default_context(cafile=trusted)
    end = time.monotonic() + seconds
    while True:
        try:
            if httpx.get(f"{address}/health", trust_env=False, verify=trust).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            assert time.monotonic() < end, log.read_text("utf-8")
        time.sleep(0.2)


def log_in(monkeypatch: pytest.MonkeyPatch, role: str, password: str = "") -> None:
    """Show the server the login of a role from now on."""
    monkeypatch.setenv(NAME, role)
    monkeypatch.setenv(PASSWORD, password or f"password-of-{role}")


@pytest.fixture(autouse=True)
def without_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a stranger, until a test logs in."""
    for name in (NAME, PASSWORD):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "path", ["registered-models/search", "experiments/search?max_results=9", "users/list", "registered-models/alias"]
)
def test_strangers_are_told_to_log_in(server: str, path: str) -> None:
    for auth in (None, ("steps", "guessed"), (ADMIN, "password1234"), ("steps", "former-password-of-steps")):
        answer = httpx.get(f"{server}/api/2.0/mlflow/{path}", auth=auth, trust_env=False)
        assert answer.status_code == httpx.codes.UNAUTHORIZED, auth


def test_a_registry_without_login_says_where_the_login_belongs(server: str) -> None:
    with pytest.raises(
        BadInput, match="401.*check the setting tracking_uri, and the login in MLFLOW_TRACKING_USERNAME"
    ):
        Registry(server, "messages").champion()


def test_steps_use_the_registry_and_trainers_only_log(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(server, "messages")
    log_in(monkeypatch, "trainers")
    with pytest.raises(BadInput, match="403"):  # or the trainer would own the name
        registry.register("s3://slipway/bundles/evil", DIGEST, {})
    tracker = Tracker(server, "slipway", "run", tmp_path, DIGEST)
    tracker.log_metrics({"loss": 1.0}, 1)
    tracker.finish("FINISHED")

    log_in(monkeypatch, "steps")
    first = registry.register("s3://slipway/bundles/1", DIGEST, {})
    registry.promote(first)
    second = registry.register("s3://slipway/bundles/2", DIGEST, {})
    registry.reject(second, "worse")
    registry.nominate(second)
    assert tracker.client.get_run(tracker.run_id).data.metrics == {"loss": 1.0}

    log_in(monkeypatch, "trainers")
    for attack in (lambda: registry.promote(second), registry.champion, lambda: registry.reject(second, "no")):
        with pytest.raises(BadInput, match="403"):
            attack()
    log_in(monkeypatch, "steps")
    assert registry.champion() == registry.version(first.version)


def test_no_role_makes_logins_or_takes_over_that_of_another(server: str) -> None:
    for role in LOGINS:
        with httpx.Client(auth=(role, f"password-of-{role}"), trust_env=False) as client:
            made = client.post(f"{server}/api/2.0/mlflow/users/create", json={"username": "x", "password": "x" * 20})
            other = {"username": ADMIN, "password": "mine-from-now-on"}
            taken = client.patch(f"{server}/api/2.0/mlflow/users/update-password", json=other)
            raised = client.patch(
                f"{server}/api/2.0/mlflow/users/update-admin", json={"username": role, "is_admin": True}
            )
        assert [answer.status_code for answer in (made, taken, raised)] == [httpx.codes.FORBIDDEN] * 3


def test_a_role_without_a_login_and_two_with_the_same_are_refused(tmp_path: Path) -> None:
    give(tmp_path, "steps", "one", "password")
    with pytest.raises(BadInput, match="role trainers has no MLFLOW_TRACKING_USERNAME"):
        logins_in(tmp_path)
    for name in ("one", ADMIN):
        give(tmp_path, "trainers", name, "password")
        with pytest.raises(BadInput, match="must differ"):
            logins_in(tmp_path)
