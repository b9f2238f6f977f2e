"""Storage: folders and files go to S3 and back whole; a store that cannot be used is named, and no key is shown."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer

from slipway.components.errors import BadInput
from slipway.components.platforms import s3, storage

SECRET = "wJalr-secret-of-the-tests"
ACCESS = "AKIA-access-of-the-tests"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server on this machine."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an S3 server with the bucket `models`; the environment points to it."""
    use(monkeypatch, server)
    client = boto3.client("s3")
    client.create_bucket(Bucket="models")
    for item in client.list_objects_v2(Bucket="models").get("Contents", []):
        client.delete_object(Bucket="models", Key=item["Key"])
    return server


def use(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Point the usual variables to an endpoint."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder like a bundle, with a file in a subfolder and an empty one."""
    folder = tmp_path / "bundle"
    (folder / "more").mkdir(parents=True)
    (folder / "bundle.json").write_text("{}")
    (folder / "model.onnx").write_bytes(bytes(range(256)) * 100)
    (folder / "more" / "ünïcode name.txt").write_text("text")
    (folder / "empty").touch()
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(call: Callable[..., object], *arguments: object) -> str:
    """The message with which a call is refused; it never shows a credential."""
    with pytest.raises(BadInput) as caught:
        call(*arguments)
    message = str(caught.value)
    assert SECRET not in message
    assert ACCESS not in message
    return message


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("place", ["s3://models/a/b", "local"])
def test_a_folder_comes_back_as_it_was_stored(place: str, bundle: Path, tmp_path: Path) -> None:
    uri = str(tmp_path / "store" / "x") if place == "local" else place
    storage.upload_folder(bundle, uri)
    storage.download_folder(uri, tmp_path / "back")
    assert content(tmp_path / "back") == content(bundle)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("place", ["s3://models/a/b", "local"])
def test_a_bundle_is_replaced_without_leftovers(place: str, bundle: Path, tmp_path: Path) -> None:
    uri = str(tmp_path / "store") if place == "local" else place
    storage.upload_folder(bundle, uri)
    (bundle / "empty").unlink()
    (bundle / "model.onnx").write_bytes(b"new")
    storage.upload_folder(bundle, uri)
    storage.download_folder(uri, tmp_path / "back")
    assert content(tmp_path / "back") == content(bundle)


@pytest.mark.usefixtures("store")
def test_a_reader_never_sees_bundle_json_before_all_other_files(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []
    upload = s3.S3Location.upload

    def watched(place: s3.S3Location, path: Path, name: str) -> None:
        seen.append((name, "bundle.json" in place.names()))
        upload(place, path, name)

    monkeypatch.setattr(s3.S3Location, "upload", watched)
    for _ in range(2):  # also when it replaces an older bundle
        seen.clear()
        storage.upload_folder(bundle, "s3://models/x")
        assert seen[-1][0] == "bundle.json"
        assert not any(complete for _, complete in seen)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("place", ["s3://models/a", "local"])
def test_files_that_are_no_bundle_are_not_replaced(place: str, bundle: Path, tmp_path: Path) -> None:
    uri = str(tmp_path / "home") if place == "local" else place
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious.txt").write_text("data")
    storage.upload_folder(other, uri)
    assert uri in refused(storage.upload_folder, bundle, uri)
    storage.download_folder(uri, tmp_path / "back")
    assert content(tmp_path / "back") == {"precious.txt": b"data"}


@pytest.mark.usefixtures("store")
def test_a_whole_bucket_is_not_a_place_for_a_folder(bundle: Path) -> None:
    assert "whole bucket" in refused(storage.upload_folder, bundle, "s3://models")


@pytest.mark.usefixtures("store")
def test_a_prefix_does_not_catch_its_longer_neighbour(bundle: Path, tmp_path: Path) -> None:
    storage.upload_folder(bundle, "s3://models/v1")
    storage.upload_folder(bundle, "s3://models/v10")
    storage.download_folder("s3://models/v1", tmp_path / "back")
    assert content(tmp_path / "back") == content(bundle)


@pytest.mark.usefixtures("store")
def test_one_file_is_downloaded(tmp_path: Path) -> None:
    boto3.client("s3").put_object(Bucket="models", Key="data/train.csv", Body=b"text,label\n")
    storage.download_file("s3://models/data/train.csv", tmp_path / "new" / "train.csv")
    assert (tmp_path / "new" / "train.csv").read_bytes() == b"text,label\n"


@pytest.mark.usefixtures("store")
def test_a_failed_download_leaves_nothing(tmp_path: Path) -> None:
    place = tmp_path / "empty"
    place.mkdir()
    refused(storage.download_folder, "s3://models/none", place / "back")
    refused(storage.download_file, "s3://models/none.csv", place / "none.csv")
    assert list(place.iterdir()) == []


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("way", ["../../escaped", "/{}/escaped", "a/./b"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, way: str) -> None:
    key = f"evil/{way.format(tmp_path)}"
    boto3.client("s3").put_object(Bucket="models", Key=key, Body=b"x")
    names = [item["Key"] for item in boto3.client("s3").list_objects_v2(Bucket="models").get("Contents", [])]
    assert names == [key]
    assert "leads out" in refused(storage.download_folder, "s3://models/evil", tmp_path / "back")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_bucket_is_named(store: str, bundle: Path, tmp_path: Path) -> None:
    for call, arguments in (
        (storage.upload_folder, (bundle, "s3://nowhere/x")),
        (storage.download_folder, ("s3://nowhere/x", tmp_path / "back")),
        (storage.download_file, ("s3://nowhere/x.csv", tmp_path / "x.csv")),
        (storage.check_writable, ("s3://nowhere/x",)),
    ):
        message = refused(call, *arguments)
        assert "'nowhere'" in message
        assert "does not exist" in message
        assert store in message


@pytest.mark.usefixtures("store")
def test_a_missing_key_is_named(tmp_path: Path) -> None:
    assert "'data/none.csv'" in refused(storage.download_file, "s3://models/data/none.csv", tmp_path / "x.csv")
    assert "'data/none'" in refused(storage.download_folder, "s3://models/data/none", tmp_path / "x")


def test_an_unreachable_store_is_named_with_its_bucket(
    monkeypatch: pytest.MonkeyPatch, bundle: Path, tmp_path: Path
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    use(monkeypatch, endpoint.replace("//", "//user:password@"))
    for call, arguments in (
        (storage.check_writable, ("s3://models/x",)),
        (storage.upload_folder, (bundle, "s3://models/x")),
        (storage.download_file, ("s3://models/x.csv", tmp_path / "x.csv")),
    ):
        message = refused(call, *arguments)
        assert endpoint in message
        assert "'models'" in message
        assert "cannot be reached" in message
        assert "password" not in message


def test_an_endpoint_that_is_no_url_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "not a url")
    assert "AWS_ENDPOINT_URL" in refused(storage.check_writable, "s3://models/x")


@pytest.mark.parametrize("uri", ["s3://", "s3:///x", "s3://Bad_Bucket!/x"])
def test_a_uri_without_a_valid_bucket_is_refused(uri: str) -> None:
    assert f"{uri!r} is not of the form s3://bucket/prefix" in refused(storage.check_writable, uri)


@pytest.mark.usefixtures("store")
def test_missing_credentials_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "AWS_ACCESS_KEY_ID" in refused(storage.check_writable, "s3://models/x")


def test_wrong_credentials_are_said_to_be_refused(store: str) -> None:
    requests.post(f"{store}/moto-api/reset-auth", data=b"0", timeout=5)
    try:
        assert "refuses access" in refused(storage.check_writable, "s3://models/x")
    finally:
        requests.post(f"{store}/moto-api/reset-auth", data=b"10000000", timeout=5)


@pytest.mark.usefixtures("store")
def test_the_write_check_leaves_nothing(tmp_path: Path) -> None:
    storage.check_writable("s3://models/x")
    storage.check_writable("s3://models")
    storage.check_writable(str(tmp_path / "new" / "folder"))
    assert "Contents" not in boto3.client("s3").list_objects_v2(Bucket="models")
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file" / "x") in refused(storage.check_writable, str(tmp_path / "file" / "x"))


@pytest.mark.usefixtures("store")
def test_an_empty_folder_is_not_stored(tmp_path: Path) -> None:
    assert "no files" in refused(storage.upload_folder, tmp_path, "s3://models/x")
