"""TLS within the cluster, as manifests/tls/inside sets it up: real servers, and the clients of steps and trainers."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from slipway.components.errors import BadInput
from slipway.components.machine.home import HOME
from slipway.components.platforms import authority, mounted_credentials, storage
from slipway.components.platforms.model_registry import Registry
from slipway.components.train import remote
from slipway.components.train.tracking import Tracker
from tests import versitygw
from tests.authority import Authority
from tests.components.platforms.test_tracking_users import until_healthy
from tests.conftest import free_port
from tests.versitygw import Store

INSIDE = Path(__file__).parents[3] / "manifests" / "tls" / "inside"
DIGEST = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that cert-manager would be."""
    return Authority(tmp_path_factory.mktemp("authority"), "inside")


def variables(server: str, container: str, signer: Authority) -> dict[str, str]:
    """What the overlay sets for a container, with files of the signer in place of the mounted ones."""
    deployment = yaml.safe_load((INSIDE / f"{server}.yaml").read_text("utf-8"))
    containers = deployment["spec"]["template"]["spec"]["containers"]
    (found,) = [item["env"] for item in containers if item["name"] == container]
    certificate, key = signer.issue(server)
    mounted = {"/tls/tls.crt": certificate, "/tls/tls.key": key, "/authority/ca.crt": signer.path}
    return {item["name"]: str(mounted.get(item["value"], item["value"])) for item in found}


@pytest.fixture(autouse=True)
def trusting_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a pod that has no certificate of an authority, until a test gives it one."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in (authority.VARIABLE, authority.OF_S3, authority.OF_MLFLOW, authority.OF_BOTH):
        monkeypatch.setenv(name, "")  # so that what the code sets goes again
        monkeypatch.delenv(name)


def as_step(folder: Path, values: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a mounted Secret, as the program of every step does first."""
    for name, value in values.items():
        (folder / name).write_text(value)
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    mounted_credentials.load([str(folder)])


@pytest.fixture(scope="module", autouse=True)
def starting(signer: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of MLflow with TLS, and its log: it starts while S3 is asked."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    given = [f"--backend-store-uri=sqlite:///{folder}/mlflow.db", "--workers=1", "--host=127.0.0.1", f"--port={port}"]
    environment = os.environ | variables("mlflow", "mlflow", signer) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [sys.executable, "-m", "mlflow", "server", *given]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield f"https://127.0.0.1:{port}", folder / "log"
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture
def tracking(starting: tuple[str, Path], signer: Authority, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of MLflow, once that answers."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    until_healthy(*starting, trusted=str(signer.path))
    return starting[0]


@pytest.fixture(scope="module")
def store(signer: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """S3 with TLS, and with the users of its roles, which are made over TLS."""
    of_users = variables("s3", "users", signer)
    address = of_users.pop("AWS_ENDPOINT_URL_S3")
    assert address.startswith("https://127.0.0.1:")
    of_server = variables("s3", "s3", signer)
    with versitygw.running(tmp_path_factory.mktemp("s3"), 15.0, "https", of_server, of_users) as running:
        yield running


def test_a_step_with_the_authority_stores_bundles_over_tls_and_trusts_the_usual_ones_too(
    store: Store, signer: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = store.environment("steps") | {authority.VARIABLE: signer.path.read_text()}
    as_step(tmp_path, secret, monkeypatch)
    storage.check_writable("s3://slipway/bundles")
    assert len(Path(os.environ[authority.OF_S3]).read_text().split("BEGIN CERTIFICATE")) > 50


@pytest.mark.parametrize("variable", [authority.OF_S3, authority.OF_BOTH])
def test_what_a_cluster_has_its_pods_trust_stays_beside_the_authority(
    variable: str, store: Store, signer: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    company = Authority(tmp_path, "company")
    monkeypatch.setenv(variable, str(company.path))
    as_step(tmp_path, store.environment("steps") | {authority.VARIABLE: signer.path.read_text()}, monkeypatch)
    storage.check_writable("s3://slipway/bundles")
    for certificate in (company.path.read_text(), signer.path.read_text()):
        assert certificate in Path(os.environ[authority.OF_S3]).read_text()


def test_what_a_cluster_has_its_pods_trust_is_not_forgotten_where_it_cannot_be_read(
    signer: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(authority.OF_S3, str(tmp_path / "absent.pem"))
    with pytest.raises(BadInput, match=r"absent\.pem, which is no PEM file"):
        as_step(tmp_path, {authority.VARIABLE: signer.path.read_text()}, monkeypatch)


def test_a_trainer_with_the_authority_fetches_its_configuration_over_tls(
    store: Store, signer: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "trainings/0123456789abcdef"
    config = f"{place}/launches/train-1/config/train.json"
    monkeypatch.setenv(authority.OF_S3, str(signer.path))
    store.of("steps").put_object(Bucket="slipway", Key=config, Body=b"no configuration")
    store.of("steps").put_object(Bucket="slipway", Key=f"{place}/dataset/train.parquet", Body=b"texts")
    monkeypatch.delenv(authority.OF_S3)
    given = store.environment("trainers") | {"SLIPWAY_STORE": f"s3://slipway/{place}", "SLIPWAY_LAUNCH": "train-1"}
    for name, value in (given | {HOME: ""}).items():
        monkeypatch.setenv(name, value)
    (workspace := tmp_path / "workspace").mkdir()
    for name, folder in {"WORKSPACE": workspace, "DATASET": workspace / "dataset"}.items():
        monkeypatch.setattr(remote, name, folder)

    with pytest.raises(BadInput, match="certificate that is not trusted"):
        remote.pod()
    monkeypatch.setenv(authority.VARIABLE, signer.path.read_text())
    with pytest.raises(BadInput, match="does not understand the configuration"):
        remote.pod()
    assert (workspace / "dataset" / "train.parquet").read_bytes() == b"texts"


def test_a_store_whose_authority_is_not_known_is_refused_at_once_and_told_how_to_trust_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = Authority(tmp_path, "stranger")
    for trusted in ("", stranger.path.read_text()):
        monkeypatch.delenv(authority.OF_S3, raising=False)
        as_step(tmp_path, store.environment("steps") | {authority.VARIABLE: trusted}, monkeypatch)
        before = time.monotonic()
        with pytest.raises(BadInput) as told:
            storage.check_writable("s3://slipway/bundles")
        assert time.monotonic() - before < 10
        assert "a certificate that is not trusted" in str(told.value)
        assert "set AWS_CA_BUNDLE" in str(told.value)
        assert "manifests/install.sh secrets" in str(told.value)


@pytest.mark.parametrize("plain", ["client", "server"])
def test_there_is_no_way_back_to_plain_text(
    plain: str, store: Store, signer: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plainly = store.endpoint.replace("https://", "http://")
    endpoint = plainly if plain == "client" else store.admin.replace("http://", "https://")
    secret = store.environment("steps") | {authority.VARIABLE: signer.path.read_text(), "AWS_ENDPOINT_URL_S3": endpoint}
    as_step(tmp_path, secret, monkeypatch)
    with pytest.raises(BadInput, match="check AWS_ENDPOINT_URL"):
        storage.check_writable("s3://slipway/bundles")


EMPTY = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"


@pytest.mark.parametrize("wrong", ["no certificate", EMPTY, "ü"])
def test_what_is_no_certificate_is_refused_before_anybody_is_asked(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadInput, match="SLIPWAY_CA of the Secret of the store holds no certificates"):
        as_step(tmp_path, {authority.VARIABLE: wrong}, monkeypatch)


def test_steps_and_trainers_with_the_authority_use_mlflow_over_tls(
    tracking: str, signer: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_step(tmp_path, {authority.VARIABLE: signer.path.read_text()}, monkeypatch)
    registry = Registry(tracking, "messages")
    assert registry.register("s3://slipway/bundles/1", DIGEST, {}) == registry.challenger()
    tracker = Tracker(tracking, "slipway", "run", tmp_path, DIGEST)
    tracker.log_metrics({"loss": 1.0}, 1)
    assert tracker.client.get_run(tracker.run_id).data.metrics == {"loss": 1.0}


@pytest.mark.parametrize("client", ["step", "trainer"])
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_mlflow_is_refused_at_once_without_its_authority_and_without_tls(
    client: str, scheme: str, tracking: str, tmp_path: Path
) -> None:
    address = tracking.replace("https", scheme)
    before = time.monotonic()
    with pytest.raises(BadInput) as told:
        Registry(address, "messages").champion() if client == "step" else Tracker(address, "x", "run", tmp_path, DIGEST)
    assert time.monotonic() - before < 20
    said = str(told.value)
    if scheme == "http":
        assert said.endswith("check the setting tracking_uri, which begins with https:// where the server has TLS")
    else:
        assert "set MLFLOW_TRACKING_SERVER_CERT_PATH" in said
        assert "manifests/install.sh secrets" in said
