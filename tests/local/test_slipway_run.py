"""The `slipway` command as a user meets it: the whole pipeline by kfp.local, with all its real processes.

It is installed from a wheel, and run in a project whose folders have the names of ours: nothing there takes the place
of ours.
"""

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from slipway.components.platforms.model_registry import Registry
from slipway.components.step_runtime.step_context import record
from tests.conftest import free_port
from tests.local.conftest import PARTS
from tests.local.user import WHOLE, Clients, User

pytestmark = pytest.mark.local

OF_THE_PROJECT = "raise SystemExit(f'a file of the project ran: {__file__}')\n"
STRICTER = """
import slipway
import yaml
settings = yaml.safe_load(open("slipway.yaml"))
settings["evaluate"] |= {"typo_rate": 1.0, "max_typo_drop": 0.0}
again = slipway.run(settings)
print(again.outcome, again.run, again.folder, again.report, sep="\\n")
"""
OF_PYTHON = """
import sys
import slipway
with slipway.Client(sys.argv[1], key=sys.argv[2]) as client:
    print(*client.predict(["parcel late please", "password locked please"]).labels, client.status().ready)
print(slipway.compile("pipeline.yaml"))
try:
    slipway.run({"train": {"epoch": 1}})
except slipway.BadInput as error:
    print(error)
"""


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, command: Path) -> Iterator[User]:
    folder = tmp_path_factory.mktemp("user")
    for package in (*PARTS, "slipway", "tests"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text(OF_THE_PROJECT)
    for module in ("torch", "kfp", "settings", "random"):
        (folder / f"{module}.py").write_text(OF_THE_PROJECT)
    somebody = User(folder, tiny_encoder, command)
    yield somebody
    somebody.slipway("stop")


@pytest.fixture(scope="module")
def first(user: User) -> CompletedProcess[str]:
    return user.slipway("run")


def test_the_first_run_ends_with_a_served_model_and_a_report(user: User, first: CompletedProcess[str]) -> None:
    assert first.returncode == 0, first.stdout + first.stderr
    report = Path(first.stdout.strip().splitlines()[-1].removeprefix("report: "))
    html = report.read_text("utf-8")
    for step in ("prepare_data", "select_model", "train", "compress", "evaluate", "register", "rollout"):
        assert f'<section id="{step}">' in html
        assert user.log(step).exists()
    logs = [path.read_text("utf-8") for path in user.last_run().glob("logs/*.log")]
    assert not any("a file of the project ran" in log for log in logs)
    status = user.status()
    assert status["healthy"]
    assert status["champion"]["version"] == "1"


@pytest.mark.usefixtures("first")
def test_candidates_are_compared_and_the_choice_is_trained(user: User) -> None:
    results: dict[str, Any] = dict(record(user.last_run()).results)
    compared, trained = results["select_model"], results["train"]["settings"]
    assert [len(candidate["macro_f1"]) for candidate in compared["candidates"]] == [2, 2]
    assert compared["choice"] == ({} if compared["chosen"] == WHOLE else {"layers": 1})
    assert trained["layers"] == compared["choice"].get("layers", 0)
    events = [json.loads(line) for line in (user.last_run() / "progress.jsonl").read_text("utf-8").splitlines()]
    kinds = [event["kind"] for event in events if event["step"] == "select_model" and event["kind"] != "progress"]
    assert kinds[-1] == "finished"
    assert kinds.count("finished") == 1, "all parts are one step"


@pytest.mark.usefixtures("first")
def test_the_card_of_the_registered_model_knows_the_test(user: User) -> None:
    results: dict[str, Any] = dict(record(user.last_run()).results)
    assert f"{results['evaluate']['challenger']['macro_f1']:.3f}" in results["register"]["model_card"]
    assert stored_bundle(user, "1") == Path(results["register"]["bundle_uri"])


@pytest.mark.usefixtures("first")
def test_the_private_key_is_kept_for_the_user_alone(user: User) -> None:
    private = [path for path in (user.folder / "keys").iterdir() if "private" in path.name]
    assert [path.stat().st_mode & 0o777 for path in private] == [0o600]


@pytest.mark.parametrize("over", [(), ("--grpc",)])
@pytest.mark.usefixtures("first")
def test_predict_prints_label_and_scores(user: User, over: tuple[str, ...]) -> None:
    found = user.slipway("predict", *over, "--json", "parcel late please", "password locked please")
    assert found.returncode == 0, found.stderr
    rows = json.loads(found.stdout)
    assert [row["label"] for row in rows] == ["delivery", "account"]
    assert abs(sum(rows[0]["probabilities"].values()) - 1) < 1e-4


@pytest.mark.usefixtures("first")
def test_a_second_model_takes_over_without_a_failed_request(user: User) -> None:
    key = user.slipway("keys", "add", "shop").stdout.strip()
    before = user.last_run()
    clients = Clients(user.port, key, lambda: user.last_run() != before and user.log("rollout").exists())
    wait_for(clients.is_let_in)  # servers look at the file of keys once a second
    with clients:
        asked = user.python(OF_PYTHON, f"http://127.0.0.1:{user.port}", key)
        changes = ("train.epochs=8", "train.processes=1", "select.candidates=[]")
        second = user.slipway("run", *(part for change in changes for part in ("--set", change)))
    assert asked.stdout.splitlines()[:2] == ["delivery account True", "pipeline.yaml"], asked.stderr
    assert "did you mean train.epochs" in asked.stdout
    assert second.returncode == 0, second.stdout + second.stderr
    results: dict[str, Any] = dict(record(user.last_run()).results)
    assert (results["rollout"]["outcome"], results["select_model"]["compared"]) == ("promoted", False)
    assert clients.sent > 100
    assert clients.failed == 0
    assert user.status()["champion"]["version"] == "2"


@pytest.mark.usefixtures("first")
def test_a_run_from_python_skips_what_is_unchanged_and_a_refused_gate_registers_nothing(user: User) -> None:
    again = user.python(STRICTER)
    assert again.returncode == 0, again.stderr
    for step in ("prepare data", "select model", "train", "compress"):
        assert f"{step:<13} unchanged, not run again" in again.stdout
    outcome, run, folder, report = again.stdout.splitlines()[-4:]
    assert (outcome, run, Path(folder)) == ("gate refused", user.last_run().name, user.last_run())
    assert Path(report).is_file()
    assert not {"register", "rollout"} & set(record(user.last_run()).results)
    assert user.status()["champion"]["version"] == "2"


@pytest.mark.usefixtures("first")
def test_rollback_serves_the_version_before(user: User) -> None:
    assert user.slipway("rollback").returncode == 0
    assert user.status()["champion"]["version"] == "1"


def stored_bundle(user: User, version: str) -> Path:
    found = Registry(f"sqlite:///{user.home / 'mlflow.db'}", "messages").version(version)
    return Path(found.bundle_uri)


@pytest.mark.usefixtures("first")
def test_a_bundle_is_rolled_out_alone(user: User) -> None:
    ended = user.slipway("rollout", "--bundle", str(stored_bundle(user, "2")))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert user.status()["champion"]["version"] == "2"


@pytest.mark.usefixtures("first")
def test_a_tampered_bundle_is_refused_and_the_champion_serves_on(
    user: User,
    tmp_path: Path,
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(stored_bundle(user, "1"), bundle)
    content = bytearray((bundle / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / "model.onnx").write_bytes(content)
    ended = user.slipway("rollout", "--bundle", str(bundle))
    assert ended.returncode == 1
    assert "model.onnx was altered" in ended.stdout
    assert user.status()["champion"]["version"] == "2"


def empty(user: User) -> list[str]:
    (user.folder / "empty.csv").write_text("")
    return ["data.source=empty.csv"]


def one_example(user: User) -> list[str]:
    (user.folder / "one.csv").write_text((user.folder / "messages.csv").read_text() + "something else,lonely\n")
    return ["data.source=one.csv"]


def other_encoding(user: User) -> list[str]:
    (user.folder / "latin.csv").write_bytes("text,label\nd\xe9j\xe0 vu,a\n".encode("latin-1"))
    return ["data.source=latin.csv"]


def no_such_column(user: User) -> list[str]:
    user.write_messages("other.csv", text_column="message")
    return ["data.source=other.csv"]


def no_such_encoder(user: User) -> list[str]:  # noqa: ARG001
    return ["train.encoder=./no-such-encoder"]


def dead_store(user: User) -> list[str]:
    user.environment |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}", "AWS_ACCESS_KEY_ID": "somebody"}
    user.environment |= {"AWS_SECRET_ACCESS_KEY": "hidden-from-all", "AWS_DEFAULT_REGION": "us-east-1"}
    return ["registry.store=s3://bundles/here"]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (empty, ["empty.csv"]),
        (one_example, ["lonely", "1"]),
        (other_encoding, ["UTF-8", "latin.csv"]),
        (no_such_column, ["text", "message"]),
        (no_such_encoder, ["no-such-encoder"]),
        (dead_store, ["bundles", "127.0.0.1"]),
    ],
)
def test_bad_input_ends_in_one_clear_message(
    user: User,
    bad: Callable[[User], list[str]],
    words: list[str],
) -> None:
    arguments = [part for override in bad(user) for part in ("--set", override)]
    ended = user.slipway("run", *arguments)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    message = ended.stdout.partition("bad input: ")[2] or ended.stderr.partition("BadInput: ")[2]
    assert all(word in message for word in words), message
    assert "Traceback" not in ended.stdout + ended.stderr
    assert "hidden-from-all" not in ended.stdout + ended.stderr


def test_a_port_in_use_is_told_before_any_step(tmp_path: Path, tiny_encoder: Path) -> None:
    newcomer = User(tmp_path, tiny_encoder)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", newcomer.port))
        holder.listen()
        ended = newcomer.slipway("run")
    assert ended.returncode == 2
    assert f"port {newcomer.port} cannot be used" in ended.stderr
    assert "rollout.http_port" in ended.stderr
    assert not (newcomer.home / "runs").exists()


@pytest.mark.usefixtures("first")
def test_stop_ends_the_service_and_start_brings_it_back(user: User) -> None:
    assert user.slipway("stop").returncode == 0
    assert user.slipway("status").returncode == 1
    assert user.slipway("start").returncode == 0
    assert user.status()["healthy"]


def test_without_a_service_commands_say_what_to_do(tmp_path: Path, tiny_encoder: Path) -> None:
    newcomer = User(tmp_path, tiny_encoder)
    assert "slipway run" in newcomer.slipway("status").stdout
    assert newcomer.slipway("predict", "hello").returncode == 2
    assert "slipway run" in newcomer.slipway("predict", "hello").stderr
