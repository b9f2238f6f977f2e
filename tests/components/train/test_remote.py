"""How checkpoints go from a pod to the store and back, over HTTP to an S3 server."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from slipway.components.platforms.storage import download_folder
from slipway.components.train.remote import CheckpointUploader, newest_checkpoint


def write_checkpoint(work: Path, updates: int) -> str:
    """What the training leaves after some updates; a checkpoint appears as a whole."""
    folder = work / ".unfinished"
    folder.mkdir(parents=True)
    (folder / "state.pt").write_text(f"weights {updates}")
    (folder / "position.json").write_text("{}")
    (work / "best.pt").write_text(f"best at {updates}")
    return folder.rename(work / f"checkpoint-{updates:08d}-0000").name


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty place in an S3 server on this machine."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="slipway")
    yield f"s3://slipway/{tmp_path.name}"
    server.stop()


def stored(store: str) -> list[str]:
    """Names of the checkpoints in the store."""
    prefix = store.removeprefix("s3://slipway/") + "/checkpoints/"
    found = boto3.client("s3").list_objects_v2(Bucket="slipway", Prefix=prefix)["Contents"]
    return sorted({item["Key"].removeprefix(prefix).split("/")[0] for item in found})


def test_the_newest_checkpoint_is_stored_with_what_belongs_to_it(tmp_path: Path, store: str) -> None:
    work = tmp_path / "work"
    assert newest_checkpoint(store) is None
    name = write_checkpoint(work, 20)
    CheckpointUploader(work, store).upload_newest()
    assert newest_checkpoint(store) == name
    download_folder(f"{store}/checkpoints/{name}", tmp_path / "back")
    assert (tmp_path / "back" / name / "state.pt").read_text() == "weights 20"
    assert (tmp_path / "back" / "best.pt").read_text() == "best at 20"


def test_a_continued_training_stores_its_checkpoints_too_and_keeps_the_last_two(tmp_path: Path, store: str) -> None:
    work = tmp_path / "work"
    uploader = CheckpointUploader(work, store)
    names = []
    for updates in (20, 40, 60, 80):
        newest_checkpoint(store)
        names.append(write_checkpoint(work, updates))
        uploader.upload_newest()
        uploader.upload_newest()
        assert newest_checkpoint(store) == names[-1]
    assert stored(store) == names[-2:]


def test_checkpoints_are_stored_while_the_training_goes_on(tmp_path: Path, store: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with CheckpointUploader(work, store, interval_s=0.01):
        name = write_checkpoint(work, 20)
        while newest_checkpoint(store) is None:
            pass
    assert stored(store) == [name]


def test_a_store_that_cannot_be_written_does_not_end_the_training(
    tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    write_checkpoint(work, 20)
    uploader = CheckpointUploader(work, store.replace("slipway", "absent"), interval_s=0.01)
    with uploader:
        while "could not be stored" not in capsys.readouterr().err:
            pass
    assert uploader.stored == []
