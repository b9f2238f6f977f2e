"""The roles in a real S3 server: each key opens what its role needs, and nothing else."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from slipway.components.errors import BadInput
from slipway.components.platforms import storage
from slipway.components.platforms.store_users import ACCESS, ROLES, SECRET, Administration, User, policy, users_in
from slipway.components.train import remote
from tests import versitygw
from tests.versitygw import ROOT_KEY, Store

TRAINING = "trainings/0123456789abcdef"
LAUNCH = f"{TRAINING}/launches/train-01234567-abcdef"
STORED = {
    "data.csv": b"texts",
    "bundles/messages/0123456789abcdef/model.onnx": b"model",
    f"{TRAINING}/dataset/train.parquet": b"texts",
    f"{TRAINING}/encoder/config.json": b"{}",
    f"{TRAINING}/checkpoints/checkpoint-1/state.pt": b"state",
    f"{LAUNCH}/config/train.json": b"{}",
    "uploads/encoders/abc/config.json": b"{}",
    "uploads/data/abc/messages.csv": b"texts",
    "runs/1f0c/train-pod/record.json": b"{}",
}
BUNDLE, DATA, CHECKPOINT = (name for name in STORED if "model.onnx" in name or "parquet" in name or "state" in name)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A server with the users of the roles."""
    with versitygw.running(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture(params=["", "team/one/"])
def prefix(server: Store, request: pytest.FixtureRequest) -> str:
    """Where the store is in the bucket; its objects are written by a step."""
    steps, prefix = server.of("steps"), str(request.param)
    for name, body in STORED.items():
        steps.put_object(Bucket="slipway", Key=prefix + name, Body=body)
    return prefix


def refused(ask: Callable[..., Any], **what: Any) -> bool:
    """Whether the server refuses a request."""
    try:
        ask(Bucket="slipway", **what)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 403:
            raise
        return True
    return False


def readable(client: Any, prefix: str) -> set[str]:
    """Which of the objects a key reads."""
    return {name for name in STORED if not refused(client.get_object, Key=prefix + name)}


def test_a_step_reads_writes_and_removes_and_cannot_change_who_may(server: Store, prefix: str) -> None:
    steps = server.of("steps")
    assert readable(steps, prefix) == set(STORED)
    assert not refused(steps.delete_object, Key=f"{prefix}data.csv")
    own = {"Key": f"{prefix}bundles/parts"}
    upload = steps.create_multipart_upload(Bucket="slipway", **own)["UploadId"]
    assert not refused(steps.upload_part, **own, UploadId=upload, PartNumber=1, Body=b"x")
    assert not refused(steps.list_parts, **own, UploadId=upload)
    assert not refused(steps.abort_multipart_upload, **own, UploadId=upload)
    assert not refused(steps.list_multipart_uploads)
    assert refused(steps.get_bucket_policy)
    assert refused(steps.put_bucket_policy, Policy='{"Version": "2012-10-17", "Statement": []}')
    assert refused(steps.delete_bucket_policy)
    assert refused(steps.delete_bucket)


def test_a_trainer_reads_data_and_no_bundle(server: Store, prefix: str) -> None:
    seen = readable(server.of("trainers"), prefix)
    assert seen == {name for name in STORED if name.startswith(("trainings/", "uploads/encoders/"))}
    assert DATA in seen
    assert BUNDLE not in seen


def test_a_trainer_writes_checkpoints_and_results_and_no_data(server: Store, prefix: str) -> None:
    trainers = server.of("trainers")
    new = ["checkpoints/checkpoint-2/state.pt", "newest/newest.json"]
    results = [f"{LAUNCH}/output/model.safetensors", f"{LAUNCH}/result/result.json"]
    for name in [*(f"{TRAINING}/{one}" for one in new), *results]:
        assert not refused(trainers.put_object, Key=prefix + name, Body=b"new"), name
    assert not refused(trainers.delete_object, Key=prefix + CHECKPOINT)
    sneaky = [f"{TRAINING}/dataset/{TRAINING}/checkpoints/x", f"{TRAINING}/checkpoints/../dataset/x", "bundles/m/x"]
    for name in [*(one for one in STORED if one != CHECKPOINT), *sneaky, f"bundles/m/{TRAINING}/checkpoints/x"]:
        assert refused(trainers.put_object, Key=prefix + name, Body=b"evil"), name
        assert refused(trainers.delete_object, Key=prefix + name), name
    assert refused(trainers.copy_object, Key=f"{prefix}{DATA}", CopySource=f"slipway/{prefix}{CHECKPOINT}")
    assert refused(trainers.put_bucket_policy, Policy="{}")


def test_a_model_server_reads_bundles_alone_and_writes_nothing(server: Store, prefix: str) -> None:
    servers = server.of("servers")
    assert readable(servers, prefix) == {BUNDLE}
    assert refused(servers.get_object, Key=f"{prefix}bundles/../{DATA}")
    for name in [*STORED, f"{TRAINING}/checkpoints/x", "bundles/new"]:
        assert refused(servers.put_object, Key=prefix + name, Body=b"evil"), name
        assert refused(servers.delete_object, Key=prefix + name), name
    servers.head_bucket(Bucket="slipway")  # as KServe's storage initializer does, which lists by version 1
    servers.head_object(Bucket="slipway", Key=prefix + BUNDLE)
    listed = servers.list_objects(Bucket="slipway", Prefix=f"{prefix}bundles/")
    assert f"{prefix}{BUNDLE}" in [item["Key"] for item in listed["Contents"]]


def test_the_code_of_a_training_works_with_the_key_of_trainers(
    server: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = "by-code/"
    for name in (f"{TRAINING}/dataset/train.parquet", f"{LAUNCH}/config/train.json"):
        server.of("steps").put_object(Bucket="slipway", Key=prefix + name, Body=b"{}")
    for name, value in server.environment("trainers").items():
        monkeypatch.setenv(name, value)
    store = f"s3://slipway/{prefix}{TRAINING}"
    storage.download_file(f"{store}/launches/train-01234567-abcdef/config/train.json", tmp_path / "train.json")
    storage.download_folder(f"{store}/dataset", tmp_path / "dataset")
    work = tmp_path / "work"
    (work / "checkpoint-1").mkdir(parents=True)
    (work / "checkpoint-1" / "state.pt").write_text("state")
    remote.CheckpointUploader(work, store).upload_newest()
    assert remote.newest_checkpoint(store) == "checkpoint-1"
    storage.remove_folder(f"{store}/checkpoints/checkpoint-1")
    with pytest.raises(BadInput, match="refuses access"):
        storage.upload_folder(work, f"s3://slipway/{prefix}bundles/messages/1")


def test_nobody_gets_in_without_a_key_and_no_role_makes_users(server: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(server.client("strangers-key", "guessed").list_objects_v2)
    monkeypatch.setenv("ADMIN_ENDPOINT", server.admin)
    for role in ROLES:
        for name, value in server.environment(role).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ClientError, match="403|AccessDenied"):
            Administration().apply("slipway", {"steps": User("mine", "mine")})
    monkeypatch.setenv("ADMIN_ENDPOINT", server.endpoint)  # where clients are
    for name, value in ROOT_KEY.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ClientError):
        Administration().apply("slipway", {"steps": User("mine", "mine")})


def test_a_changed_key_is_taken_over_and_the_former_one_ends(tmp_path: Path) -> None:
    with versitygw.running(tmp_path, look_seconds=0.1) as store:
        former = store.of("servers")
        assert not refused(former.list_objects_v2)
        versitygw.give(store.roles, "servers", "servers-new", "another")
        versitygw.until(lambda: not refused(store.of("servers").list_objects_v2), store)
        versitygw.until(lambda: refused(former.list_objects_v2), store)
        versitygw.give(store.roles, "servers", "servers-new", "yet another")
        versitygw.until(lambda: not refused(store.of("servers").list_objects_v2), store)


def test_roles_with_the_same_key_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ACCESS, "root")
    for role in ROLES:
        versitygw.give(tmp_path, role, f"{role}-key", "secret")
    users = users_in(tmp_path)
    assert users["servers"] == User("servers-key", "secret")
    assert "secret" not in str(policy("slipway", users))
    for other in ("steps-key", "root"):
        versitygw.give(tmp_path, "trainers", other, "secret")
        with pytest.raises(BadInput, match="no two the same"):
            users_in(tmp_path)
    (tmp_path / "trainers" / SECRET).unlink()
    with pytest.raises(BadInput, match="role trainers has no"):
        users_in(tmp_path)
