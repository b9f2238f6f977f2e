"""What lies on the machine of somebody who submits goes to the store under its digest, and the run gets its address."""

import io
import os
import shutil
from pathlib import Path
from typing import Any

import boto3
import pytest
from rich.console import Console

from slipway.components.errors import BadInput
from slipway.components.platforms import storage
from slipway.components.prepare_data import sources
from slipway.pipelines.cluster_settings import for_pods
from slipway.pipelines.settings import SlipwaySettings, load_settings
from slipway.pipelines.upload import Upload, send, with_addresses
from tests.pipelines.conftest import User
from tests.pipelines.fake_backend import Kubeflow

ROWS = "text,label\nmy parcel is late,delivery\n"


class Uploads:
    """What is uploaded with some settings, and what was said."""

    def __init__(self, user: User, *overrides: str) -> None:
        given = for_pods(load_settings(None, [f"cluster.store={user.store}", *overrides]))
        self.settings, self.uploads = with_addresses(given)
        output = io.StringIO()
        send(self.uploads, Console(file=output, width=200, soft_wrap=True))
        self.said = output.getvalue()

    @property
    def source(self) -> str:
        return self.settings.data.source


def stored(user: User) -> list[str]:
    """Names of all objects below `uploads`."""
    return sorted(storage.sizes(f"{user.store}/uploads"))


def read(settings: SlipwaySettings) -> list[str]:
    """The texts that a step would read."""
    return [example.text for example in sources.read(settings.data).examples]


@pytest.mark.parametrize("name", ["reviews.csv", "my reviews (new).csv", "Bewertungen-größer.csv", "REVIEWS.CSV"])
def test_a_file_is_read_by_the_steps_from_its_address(user: User, name: str) -> None:
    (user.folder / name).write_text(ROWS)
    found = Uploads(user, f"data.source={name}")
    digest = found.source.removeprefix(f"{user.store}/uploads/data/").split("/")[0]
    assert found.source == f"{user.store}/uploads/data/{digest}/{name}"
    assert len(digest) == 16
    assert found.said == (f"data.source: 1 file, 38 bytes, from {user.folder / name}, to {found.source}\n")
    assert read(found.settings) == ["my parcel is late"]


def test_a_file_of_the_home_is_found(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(user.folder))
    (user.folder / "reviews.csv").write_text(ROWS)
    assert read(Uploads(user, "data.source=~/reviews.csv").settings) == ["my parcel is late"]


def test_a_link_to_a_file_is_followed_under_its_own_name(user: User) -> None:
    (user.folder / "blob").write_text(ROWS)
    (user.folder / "reviews.csv").symlink_to("blob")
    found = Uploads(user, "data.source=reviews.csv")
    assert found.source.endswith("/reviews.csv")
    assert read(found.settings) == ["my parcel is late"]


def test_a_file_without_a_known_suffix_is_read_when_its_format_is_set(user: User) -> None:
    (user.folder / "reviews.txt").write_text(ROWS)
    assert read(Uploads(user, "data.source=reviews.txt", "data.format=csv").settings) == ["my parcel is late"]


def test_a_folder_may_be_named_as_a_file_and_only_its_data_are_sent(user: User) -> None:
    folder = user.folder / "data" / "reviews.parquet"
    (folder / ".git").mkdir(parents=True)
    (folder / "more").mkdir()
    for name in ("a.csv", "more/b.csv", ".git/c.csv", ".env", ".hidden.csv", "id_rsa", "notes.md"):
        (folder / name).write_text(ROWS)

    found = Uploads(user, "data.source=data/reviews.parquet")

    assert found.source.endswith("/reviews.parquet")
    assert [name.split("/", 2)[2] for name in stored(user)] == ["reviews.parquet/a.csv", "reviews.parquet/more/b.csv"]
    assert "2 files, 76 bytes" in found.said
    assert len(read(found.settings)) == 2


def test_what_is_there_is_not_sent_again_and_an_interrupted_upload_is_completed(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = user.folder / "reviews"
    folder.mkdir()
    for name in ("a.csv", "b.csv", "c.csv"):
        (folder / name).write_text(ROWS)
    real, sent = storage.upload_file, list[str]()

    def interrupted(path: Path, *more: Any) -> None:
        if path.name == "b.csv" and "b.csv" not in sent:
            sent.append(path.name)
            raise KeyboardInterrupt
        sent.append(path.name)
        real(path, *more)

    monkeypatch.setattr(storage, "upload_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Uploads(user, "data.source=reviews")
    second = Uploads(user, "data.source=reviews")
    assert sent == ["a.csv", "b.csv", "b.csv", "c.csv"]
    assert "(the last 2 of them)" in second.said
    third = Uploads(user, "data.source=reviews")
    assert len(sent) == 4
    assert f"it is at {third.source}" in third.said
    assert third.source == second.source


def test_other_content_has_another_address(user: User) -> None:
    (user.folder / "reviews.csv").write_text(ROWS)
    first = Uploads(user, "data.source=reviews.csv").source
    (user.folder / "reviews.csv").write_text(ROWS.replace("late", "lost"))
    assert Uploads(user, "data.source=reviews.csv").source != first


def test_a_link_that_leads_out_of_the_folder_is_not_followed(user: User) -> None:
    (user.folder / "secret.csv").write_text(ROWS)
    (user.folder / "reviews").mkdir()
    (user.folder / "reviews" / "a.csv").symlink_to(user.folder / "secret.csv")
    with pytest.raises(BadInput, match=r"a\.csv, a symbolic link that leads out of it and is not followed"):
        Uploads(user, "data.source=reviews")
    assert stored(user) == []


def test_data_that_change_meanwhile_are_taken_back(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    path = user.folder / "reviews.csv"
    path.write_text(ROWS)
    real = storage.upload_file

    def uploaded_while_written(*arguments: Any) -> None:
        real(*arguments)
        path.write_text(ROWS + ROWS)

    monkeypatch.setattr(storage, "upload_file", uploaded_while_written)
    with pytest.raises(BadInput, match="changed while it was uploaded"):
        Uploads(user, "data.source=reviews.csv")
    assert stored(user) == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nothing.csv", "source 'nothing.csv' does not exist"),
        ("empty.csv", "empty.csv is empty"),
        ("hollow", "has no data files"),
        ("half", "half/empty.csv is empty"),
        ("notes.md", "unknown suffix '.md'"),
        ("~nobody-here/reviews.csv", "cannot be read"),
    ],
)
def test_data_that_no_step_could_read_are_told(user: User, source: str, words: str) -> None:
    for name in ("hollow", "half"):
        (user.folder / name).mkdir()
    (user.folder / "empty.csv").touch()
    (user.folder / "half" / "empty.csv").touch()
    (user.folder / "half" / "full.csv").write_text(ROWS)
    (user.folder / "notes.md").write_text("notes")
    with pytest.raises(BadInput, match=words):
        Uploads(user, f"data.source={source}")


def test_nothing_is_sent_when_the_bucket_is_missing_or_nobody_logged_in(
    kubeflow: Kubeflow, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user.folder / "reviews.csv").write_text(ROWS)
    more = ("--set", "data.source=reviews.csv")
    ended = user.submit(kubeflow.address, *more, "--set", "cluster.store=s3://no-such-bucket")
    assert ended.exit_code == 2
    assert "bucket 'no-such-bucket'" in ended.stderr
    assert "does not exist" in ended.stderr
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    ended = user.submit(kubeflow.address, *more)
    assert ended.exit_code == 2
    assert "set AWS_ACCESS_KEY_ID" in ended.stderr
    assert kubeflow.runs == []


def test_a_run_asks_for_the_address(kubeflow: Kubeflow, user: User) -> None:
    (user.folder / "reviews.csv").write_text(ROWS)
    ended = user.submit(kubeflow.address, "--set", "data.source=reviews.csv")
    assert ended.exit_code == 0, ended.stderr
    (run,) = kubeflow.runs
    assert run["runtime_config"]["parameters"]["source"] == f"{user.store}/uploads/{stored(user)[0]}"
    assert str(user.folder) not in str(run)


def test_the_folders_of_encoders_are_sent_once_each(user: User, tiny_encoder: Path) -> None:
    folder = user.folder / "encoder"
    shutil.copytree(tiny_encoder, folder)
    (folder / ".git").mkdir()
    (folder / ".git" / "config.json").write_text("{}")
    (folder / "optimizer.pt").write_bytes(b"state")
    (user.folder / "unused").mkdir()
    candidates = "[{name: a, encoder: encoder}, {name: b, encoder: ./encoder, layers: 1}, {encoder: minilm}]"

    found = Uploads(user, f"select.candidates={candidates}", "train.encoder=unused")

    names = [candidate["encoder"] for candidate in found.settings.select.candidates]
    assert names[0] == names[1]
    assert names[0].startswith(f"{user.store}/uploads/encoders/")
    assert names[2] == "minilm"
    assert found.settings.train.encoder == "minilm"  # used by nobody, so it is not sent
    sent = [name.rsplit("/", 1)[1] for name in stored(user)]
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= set(sent)
    assert "optimizer.pt" not in sent
    assert len(sent) == len(set(sent))


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("config.json", "has no config.json"),
        ("tokenizer*", "has no tokenizer"),
        ("*.safetensors", "has no weights in a .safetensors file"),
    ],
)
def test_a_folder_that_is_no_encoder_is_told(user: User, tiny_encoder: Path, missing: str, words: str) -> None:
    shutil.copytree(tiny_encoder, user.folder / "encoder")
    for path in (user.folder / "encoder").glob(missing):
        path.unlink()
    with pytest.raises(BadInput, match=words):
        Uploads(user, "train.encoder=encoder", "select.candidates=[]")
    assert stored(user) == []


def test_a_big_file_is_not_read_into_memory(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is handed to the client, which reads it in parts."""
    path = user.folder / "reviews.csv"
    path.write_text(ROWS)
    os.truncate(path, 50_000_000)
    steps: list[int] = []
    real = storage.upload_file

    def watched(path: Path, uri: str, _sent: object) -> None:
        real(path, uri, lambda count: steps.append(count))

    monkeypatch.setattr(storage, "upload_file", watched)
    found: list[Upload] = Uploads(user, "data.source=reviews.csv").uploads
    assert sum(steps) == 50_000_000
    assert max(steps) <= 8_388_608
    bucket, _, key = found[0].address.removeprefix("s3://").partition("/")
    assert boto3.client("s3").head_object(Bucket=bucket, Key=key)["ContentLength"] == 50_000_000
