"""What storage never removes or replaces: a whole bucket, neighbours, and what is there until its replacement is."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from slipway.components.errors import BadInput
from slipway.components.platforms import storage
from tests.components.platforms.test_storage import content, refused, use


@pytest.fixture(scope="module")
def s3_client(s3: str) -> Any:
    """A client of the tests' own; to make one takes longer than most that is done with it."""
    login = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=s3, **login)
    client.create_bucket(Bucket="models")
    return client


class Bucket:
    """The bucket `models`."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def names(self) -> list[str]:
        return [item["Key"] for item in self.client.list_objects_v2(Bucket="models").get("Contents", [])]

    def put(self, *names: str, body: bytes = b"content") -> None:
        for name in names:
            self.client.put_object(Bucket="models", Key=name, Body=body)


@pytest.fixture
def bucket(s3: str, s3_client: Any, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """The bucket `models`, empty; the environment points to its server."""
    use(monkeypatch, s3)
    found = Bucket(s3_client)
    for name in found.names():
        s3_client.delete_object(Bucket="models", Key=name)
    return found


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder like a bundle."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "bundle.json").write_text("{}")
    (folder / "model.onnx").write_bytes(bytes(range(256)))
    return folder


@pytest.mark.parametrize("uri", ["s3://models", "s3://models/", "s3://models//"])
def test_a_whole_bucket_is_never_removed_or_replaced(uri: str, bundle: Path, bucket: Bucket) -> None:
    bucket.put("a/bundle.json", "b.txt")
    assert "names a whole bucket, which is not removed" in refused(storage.remove_folder, uri)
    assert "names a whole bucket; give a prefix in it, as in s3://models/bundles" in refused(
        storage.upload_folder, bundle, uri
    )
    assert bucket.names() == ["a/bundle.json", "b.txt"]


def test_a_folder_is_removed_without_its_neighbours(tmp_path: Path, bucket: Bucket) -> None:
    bucket.put("v1", "v1/a", "v1/b/c", "v10/a")
    storage.remove_folder("s3://models/v1/")
    assert bucket.names() == ["v1", "v10/a"]
    storage.remove_folder("s3://models/v1")  # nothing is there
    assert bucket.names() == ["v1", "v10/a"]
    for name in ("v1/b", "v10"):
        (tmp_path / name).mkdir(parents=True)
    storage.remove_folder(str(tmp_path / "v1"))
    storage.remove_folder(str(tmp_path / "v1"))
    assert [path.name for path in tmp_path.iterdir()] == ["v10"]


def local_copy(source: Path, place: Path) -> None:
    storage.upload_folder(source, str(place))


def local_fetch(source: Path, place: Path) -> None:
    storage.download_folder(str(source), place)


@pytest.mark.parametrize("replace", [local_copy, local_fetch])
def test_what_is_there_stays_until_its_replacement_is_there(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    replace: Callable[[Path, Path], None],
) -> None:
    place = tmp_path / "place" / "served"
    replace(bundle, place)
    before, copytree, looked = content(place), shutil.copytree, []

    def failing(source: Path, target: Path) -> None:
        looked.append(content(place))
        copytree(source, target)
        looked.append(content(place))
        raise OSError("the disk is full")

    monkeypatch.setattr(shutil, "copytree", failing)
    (bundle / "model.onnx").write_bytes(b"new")
    with pytest.raises(BadInput, match="served cannot be written: the disk is full; give one that can"):
        replace(bundle, place)
    assert looked == [before, before]
    assert content(place) == before
    assert [path.name for path in place.parent.iterdir()] == ["served"]


def test_what_cannot_be_put_in_place_leaves_what_was_there(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = tmp_path / "place" / "served"
    storage.upload_folder(bundle, str(place))
    before, rename = content(place), Path.rename

    def refusing(path: Path, target: Path) -> Path:
        if target == place and not path.name.endswith(".old"):
            raise OSError("the folder is held")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refusing)
    (bundle / "model.onnx").write_bytes(b"new")
    with pytest.raises(BadInput, match="the folder is held"):
        storage.upload_folder(bundle, str(place))
    assert content(place) == before
    assert [path.name for path in place.parent.iterdir()] == ["served"]


def test_a_download_that_breaks_off_leaves_what_was_there(bundle: Path, tmp_path: Path, bucket: Bucket) -> None:
    storage.upload_folder(bundle, "s3://models/x")
    storage.download_folder("s3://models/x", tmp_path / "place" / "served")
    before = content(tmp_path / "place" / "served")
    bucket.put("x/more//deep")
    assert "leads out of the folder" in refused(storage.download_folder, "s3://models/x", tmp_path / "place" / "served")
    assert content(tmp_path / "place" / "served") == before
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["served"]


@pytest.mark.parametrize("what", ["file", "folder of others", "empty folder", "bundle", "encrypted bundle"])
def test_only_bundles_and_empty_folders_are_replaced(bundle: Path, tmp_path: Path, what: str) -> None:
    place = tmp_path / "place"
    if what == "file":
        place.write_text("precious")
    else:
        place.mkdir()
        names = {"folder of others": "precious", "bundle": "bundle.json", "encrypted bundle": "encryption.json"}
        if what in names:
            (place / names[what]).write_text("old")
    if what in ("file", "folder of others"):
        assert "exists and is not a bundle; give a folder of its own" in refused(
            storage.upload_folder, bundle, str(place)
        )
        assert "precious" in (place.read_text() if what == "file" else str(list(place.iterdir())))
    else:
        storage.upload_folder(bundle, str(place))
        assert content(place) == content(bundle)


@pytest.mark.parametrize("marker", ["bundle.json", "encryption.json"])
def test_what_a_newer_bundle_lacks_is_removed_before_it_is_complete(bundle: Path, bucket: Bucket, marker: str) -> None:
    bucket.put("x/old-file", f"x/{marker}")
    storage.upload_folder(bundle, "s3://models/x")
    assert bucket.names() == sorted(f"x/{name}" for name in content(bundle))
    bucket.put("y/old-file")
    assert "holds other objects, such as old-file; give a prefix of its own" in refused(
        storage.upload_folder, bundle, "s3://models/y"
    )
    assert bucket.names()[-1] == "y/old-file"


def test_files_and_folders_are_found_by_their_whole_names(tmp_path: Path, bucket: Bucket) -> None:
    bucket.put("data/train.csv", "data/folder/a")
    (tmp_path / "folder").mkdir()
    (tmp_path / "train.csv").touch()
    for root in ("s3://models/data", str(tmp_path)):
        assert storage.file_exists(f"{root}/train.csv")
        assert not storage.file_exists(f"{root}/train")
        assert not storage.file_exists(f"{root}/folder")
        assert not storage.folder_exists(f"{root}/fold")
        assert not storage.folder_exists(f"{root}/nothing")
    assert storage.folder_exists("s3://models/data/folder")
    assert not storage.folder_exists(str(tmp_path / "folder"))  # without a file there is none
    (tmp_path / "folder" / "a").touch()
    assert storage.folder_exists(str(tmp_path / "folder"))
    assert storage.sizes("s3://models/data") == {"train.csv": 7, "folder/a": 7}


def test_a_version_changes_with_what_is_stored_there_and_with_nothing_else(bucket: Bucket) -> None:
    bucket.put("data/a", "data/b", "data2")
    before = storage.version_of("s3://models/data")
    bucket.put("data2", "other", body=b"more")
    assert storage.version_of("s3://models/data/") == before
    bucket.put("data/b", body=b"CONTENT")
    changed = storage.version_of("s3://models/data")
    bucket.put("data/c")
    assert len({before, changed, storage.version_of("s3://models/data"), storage.version_of("s3://models/data2")}) == 4
    assert "holds no object 'dat', nor any below it" in refused(storage.version_of, "s3://models/dat")


def test_a_file_is_stored_under_its_name_and_its_bytes_are_told(tmp_path: Path, bucket: Bucket) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1000)
    sent: list[int] = []
    storage.upload_file(tmp_path / "file", "s3://models/a/b/name", sent.append)
    assert bucket.names() == ["a/b/name"]
    assert sum(sent) == 1000
    storage.download_file("s3://models/a/b/name", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"x" * 1000
    storage.download_file(str(tmp_path / "file"), tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == b"x" * 1000
    assert "none cannot be copied to" in refused(storage.download_file, str(tmp_path / "none"), tmp_path / "copy")
    assert "does not exist; check the path" in refused(storage.download_folder, str(tmp_path / "none"), tmp_path / "f")


def test_a_folder_of_more_objects_than_a_page_has_is_listed_and_removed_as_a_whole(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
    bucket.put("v1/a", "v1/b/c", "v1/d", "v1/e", "v1/f", "z")
    assert storage.sizes("s3://models/v1") == dict.fromkeys(["a", "b/c", "d", "e", "f"], 7)
    storage.remove_folder("s3://models/v1")
    assert bucket.names() == ["z"]


def test_a_large_file_is_stored_in_one_piece(tmp_path: Path, bucket: Bucket) -> None:
    """Some small stores cannot join the parts of a multipart upload."""
    (tmp_path / "file").write_bytes(bytes(9 * 2**20))
    storage.upload_file(tmp_path / "file", "s3://models/file")
    stored = bucket.client.head_object(Bucket="models", Key="file")
    assert stored["ContentLength"] == 9 * 2**20
    assert "-" not in stored["ETag"]  # it has the number of parts after it
