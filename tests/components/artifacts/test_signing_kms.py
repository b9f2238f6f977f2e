"""Bundles signed by a key in AWS KMS, by a server with its API: verified as those of a key file, and no key to copy."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner

from slipway.components.artifacts import signing
from slipway.components.artifacts.bundle import SIGNATURE
from slipway.components.errors import BadInput, BundleRefused
from slipway.components.register.signing_job import signer_of
from slipway.pipelines.cli.main import app
from tests.components.train.api_server import api_server, use


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a KMS server on this machine."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def kms(server: str, monkeypatch: pytest.MonkeyPatch) -> boto3.client:
    values = {"AWS_ENDPOINT_URL": server, "AWS_DEFAULT_REGION": "eu-central-1"}
    values |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return boto3.client("kms")


@pytest.fixture
def arn(kms: boto3.client) -> str:
    made = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    return str(made["KeyMetadata"]["Arn"])


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(bytes(range(256)) * 40)
    (folder / "bundle.json").write_text('{"labels": ["a", "b"]}')
    return folder


def test_what_kms_signed_is_verified_with_the_public_key_alone(
    arn: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = signing.key_pair(tmp_path / "keys", f"awskms:///{arn}")
    signing.sign(bundle, pair.private_key)
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["public.pem"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # whoever verifies does not ask KMS
    assert set(signing.verify(bundle, pair.public_key)) == {"model.onnx", "bundle.json", SIGNATURE}
    command = [sys.executable, "-m", "model_signing", "verify", "key", "--signature", str(bundle / SIGNATURE)]
    subprocess.run([*command, "--public_key", str(pair.public_key), str(bundle)], check=True, timeout=60)
    (bundle / "model.onnx").write_bytes(b"another")
    with pytest.raises(BundleRefused, match=r"model\.onnx was altered"):
        signing.verify(bundle, pair.public_key)


def test_a_key_is_named_by_its_alias_too(kms: boto3.client, arn: str, bundle: Path, tmp_path: Path) -> None:
    kms.create_alias(AliasName="alias/slipway", TargetKeyId=arn)
    pair = signing.key_pair(tmp_path / "keys", "awskms:///alias/slipway")
    signing.sign(bundle, pair.private_key)
    signing.verify(bundle, signing.key_pair(tmp_path / "others", f"awskms:///{arn}").public_key)


def test_a_bundle_of_another_key_in_kms_is_refused(kms: boto3.client, arn: str, bundle: Path, tmp_path: Path) -> None:
    other = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    signing.sign(bundle, signing.key_pair(tmp_path / "other", f"awskms:///{other}").private_key)
    with pytest.raises(BundleRefused, match="another key"):
        signing.verify(bundle, signing.key_pair(tmp_path / "keys", f"awskms:///{arn}").public_key)


def test_bundles_of_a_key_file_stay_trusted_when_kms_takes_over(arn: str, bundle: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    signing.sign(bundle, signing.key_pair(keys).private_key)
    with pytest.raises(BadInput, match=r"public\.pem .* and awskms:.* do not belong together; rename"):
        signing.key_pair(keys, f"awskms:///{arn}")
    (keys / "public.pem").rename(keys / "before-kms.pem")
    signing.key_pair(keys, f"awskms:///{arn}")
    signing.verify(bundle, keys)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("awskms:///alias/none", r"'alias/none' cannot be used \(NotFoundException\)"),
        ("awskms:///", "is not awskms:/// and the id"),
        ("kms:key", "is not awskms:/// and the id"),
    ],
)
@pytest.mark.usefixtures("kms")
def test_a_key_that_is_not_there_is_named(reference: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=said):
        signing.key_pair(tmp_path, reference)


def test_a_key_of_another_kind_is_refused(kms: boto3.client, tmp_path: Path) -> None:
    key = kms.create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    with pytest.raises(BadInput, match="is not one to sign bundles with; make one of ECC_NIST_P256"):
        signing.key_pair(tmp_path, f"awskms:///{key}")


def test_the_command_prints_the_public_key(arn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    done = CliRunner().invoke(app, ["public-key", "--set", f"registry.signing_key=awskms:///{arn}"])
    assert done.exit_code == 0, done.output
    assert done.stdout == (tmp_path / "keys" / "public.pem").read_text()
    assert done.stdout.startswith("-----BEGIN PUBLIC KEY-----")


def test_in_a_cluster_the_key_must_be_one_that_model_servers_trust(
    arn: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = signing.key_pair(tmp_path / "keys", f"awskms:///{arn}").public_key.read_text()
    former = signing.key_pair(tmp_path / "former").public_key.read_text()
    with api_server() as cluster:
        use(cluster.address, tmp_path, monkeypatch)
        place = "GET", "/namespaces/slipway/configmaps/slipway-public-key"
        cluster.answers[place] = 200, {"data": {"public.pem": public, "former.pem": former, "refused-digests.txt": ""}}
        signer_of("job:slipway", f"awskms:///{arn}").sign(bundle)
        signing.verify(bundle, tmp_path / "keys" / "public.pem")
        cluster.answers[place] = 200, {"data": {"public.pem": former}}
        with pytest.raises(BadInput, match=f"no public key in the ConfigMap slipway-public-key .* is that of .*{arn}"):
            signer_of("job:slipway", f"awskms:///{arn}")
