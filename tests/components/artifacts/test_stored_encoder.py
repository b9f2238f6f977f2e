"""An encoder whose folder is on S3 is used by every step as one that lies here, under its own name."""

import json
import multiprocessing
import shutil
import uuid
from pathlib import Path

import boto3
import pytest

from slipway.components.artifacts import encoder
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.artifacts.encoder import encoder_folder, encoder_identity
from slipway.components.artifacts.encoder_check import check_encoder
from slipway.components.compress import architecture
from slipway.components.compress.settings import CompressSettings
from slipway.components.errors import BadInput
from slipway.components.learning.settings import TrainSettings
from slipway.components.platforms import storage
from slipway.components.select_model import step as select_model
from slipway.components.select_model.settings import SelectSettings
from slipway.components.train import pytorchjob, remote
from slipway.components.train import step as train
from slipway.components.train.config import WorkerConfig


@pytest.fixture
def stored(s3: str, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of the tiny encoder."""
    login = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in (login | {"AWS_ENDPOINT_URL": s3, "SLIPWAY_HOME": str(tmp_path / "home")}).items():
        monkeypatch.setenv(name, value)
    bucket = uuid.uuid4().hex
    boto3.client("s3").create_bucket(Bucket=bucket)
    storage.upload_folder(tiny_encoder, f"s3://{bucket}/uploads/encoders/0123")
    encoder._fetched.cache_clear()
    return f"s3://{bucket}/uploads/encoders/0123"


def put(uri: str, name: str, content: bytes) -> None:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    boto3.client("s3").put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=content)


def test_its_folder_is_fetched_whole_and_once(stored: str, tiny_encoder: Path, tmp_path: Path) -> None:
    folder = Path(encoder_folder(stored))
    assert folder.is_relative_to(tmp_path / "home")
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in tiny_encoder.iterdir())
    (folder / "mark").touch()
    encoder._fetched.cache_clear()
    assert (Path(encoder_folder(stored)) / "mark").exists()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_other_weights_at_the_same_address_are_another_version(stored: str) -> None:
    before = encoder_identity(stored), encoder_folder(stored)
    assert before[0].startswith(f"{stored}@")
    put(stored, "model.safetensors", b"other")
    encoder._fetched.cache_clear()
    assert encoder_identity(stored) != before[0]
    assert encoder_folder(stored) != before[1]
    assert (Path(encoder_folder(stored)) / "model.safetensors").read_bytes() == b"other"


def test_a_download_that_breaks_off_leaves_nothing(
    stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = storage.download_folder

    def broken(uri: str, folder: Path) -> None:
        real(uri, folder)
        raise BadInput("the store is away")

    monkeypatch.setattr(storage, "download_folder", broken)
    with pytest.raises(BadInput, match="the store is away"):
        encoder_folder(stored)
    assert list((tmp_path / "home" / "encoders").iterdir()) == []


def test_processes_that_fetch_it_at_a_time_get_the_same(stored: str, tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.map(encoder_folder, [stored, stored], chunksize=1)
    assert first == second
    assert (Path(first) / "config.json").exists()
    assert len(list((tmp_path / "home" / "encoders").iterdir())) == 1


@pytest.mark.parametrize("address", ["s3://no-such-bucket-here/encoder", "{stored}/nothing"])
def test_one_that_is_not_there_is_told(stored: str, address: str) -> None:
    for ask in (encoder_folder, encoder_identity, check_encoder):
        with pytest.raises(BadInput, match="correct the URI"):
            ask(address.format(stored=stored))


def test_a_folder_that_is_no_encoder_is_named_by_its_address(stored: str) -> None:
    address = stored.replace("0123", "4567")
    put(address, "readme.txt", b"nothing")
    with pytest.raises(BadInput, match=f"{address} has no config.json"):
        encoder_folder(address)


def test_preflight_looks_into_it(stored: str) -> None:
    check_encoder(stored)
    architecture.check_encoder(stored, CompressSettings())


def test_it_is_compared_and_trained_and_the_model_names_its_address(
    stored: str, small_dataset: TextDataset, tmp_path: Path
) -> None:
    settings = TrainSettings(
        encoder=stored, max_length=32, epochs=1, processes=1, threads_per_process=1, experiment="tests"
    )
    candidates = [{"name": "one"}, {"name": "two", "layers": 1}]
    tasks = select_model.plan(SelectSettings(candidates=candidates, folds=2, epochs=1), settings)
    assert {task.candidates[0].weights for task in tasks} == {encoder_identity(stored)}
    assert len(select_model.cross_validate(small_dataset.folder, tasks[0])) == 2

    output, tracking = tmp_path / "model", f"sqlite:///{tmp_path / 'mlflow.db'}"
    result = train.run(small_dataset.folder, {}, settings, output, tmp_path / "work", tracking)

    assert result.encoder == stored
    shutil.rmtree(tmp_path / "work", ignore_errors=True)
    for path in output.glob("*.json"):
        assert str(tmp_path / "home") not in path.read_text("utf-8"), path


def test_the_pods_of_a_training_fetch_it_themselves_before_their_workers_start(
    stored: str, small_dataset: TextDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, here = stored.replace("uploads/encoders/0123", "trainings/1"), tmp_path / "here"
    config = WorkerConfig(
        dataset=small_dataset.folder,
        output=here,
        work=here,
        launch=here,
        digest="sha256:1",
        tracking_uri="http://127.0.0.1:1",
        run_name="train",
        settings=TrainSettings(encoder=stored),
    )
    pytorchjob._upload(config, store, "train-1")
    assert not storage.folder_exists(f"{store}/encoder")

    workspace, began = tmp_path / "workspace", list[list[str]]()
    workspace.mkdir()
    for name, path in {"WORKSPACE": workspace, "DATASET": workspace / "dataset"}.items():
        monkeypatch.setattr(remote, name, path)
    monkeypatch.setenv("SLIPWAY_STORE", store)
    monkeypatch.setenv("SLIPWAY_LAUNCH", "train-1")
    monkeypatch.setattr("os.execv", lambda _, arguments: began.append(arguments))
    encoder._fetched.cache_clear()
    remote.pod()

    assert began
    assert encoder_folder(json.loads((workspace / "train.json").read_text())["settings"]["encoder"]).startswith(
        str(workspace)
    )
    assert len(list((workspace / "home" / "encoders").glob("*/config.json"))) == 1
