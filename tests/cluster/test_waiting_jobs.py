"""Jobs that wait, for their queue or for a node, on a real cluster with the real Kueue; and one whose run is gone."""

import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from slipway.components.errors import SlipwayError
from slipway.components.learning.settings import TrainSettings
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.train import patience
from slipway.components.train.config import WorkerConfig
from slipway.components.train.pytorchjob import PyTorchJobLauncher
from tests.background import Background, eventually
from tests.cluster.jobs import KIND, Jobs

pytestmark = pytest.mark.cluster
KUEUE = "kueue.x-k8s.io"


@pytest.fixture(scope="module")
def queue(jobs: Jobs) -> Iterator[str]:
    """The name of a queue in which there is room for one of two jobs that ask for 200m."""
    if not jobs.cluster.kubectl("get", "crd", f"clusterqueues.{KUEUE}", "--ignore-not-found"):
        pytest.skip("the cluster has no Kueue, in whose queues jobs wait; install it to test that")
    flavor = {"kind": "ResourceFlavor", "metadata": {"name": jobs.namespace}}
    quota = [{"name": "cpu", "nominalQuota": "300m"}, {"name": "memory", "nominalQuota": "1Gi"}]
    flavors = [{"name": jobs.namespace, "resources": quota}]
    groups = [{"coveredResources": ["cpu", "memory"], "flavors": flavors}]
    shared = {
        "kind": "ClusterQueue",
        "metadata": {"name": jobs.namespace},
        "spec": {"namespaceSelector": {}, "resourceGroups": groups},
    }
    own = {
        "kind": "LocalQueue",
        "metadata": {"name": "trainings", "namespace": jobs.namespace},
        "spec": {"clusterQueue": jobs.namespace},
    }
    served = jobs.cluster.kubectl("api-versions").split()
    version = max(found for found in served if found.startswith(f"{KUEUE}/"))
    jobs.cluster.apply(*({"apiVersion": version} | made for made in (flavor, shared, own)))
    yield "trainings"
    jobs.cluster.kubectl("delete", KIND, "--all", "--namespace", jobs.namespace)
    for kind in ("clusterqueues", "resourceflavors"):
        jobs.cluster.kubectl("delete", f"{kind}.{KUEUE}", jobs.namespace, "--wait=false")


def found(words: list[str], pattern: str) -> re.Match[str] | None:
    """The last of the words that has the pattern."""
    return next((match for line in reversed(words) if (match := re.search(pattern, line))), None)


def waited_for(name: str, settings: ClusterSettings) -> Background:
    """Wait for a job as the launcher does."""
    return Background(lambda: PyTorchJobLauncher(settings)._wait(name))


def test_a_held_job_says_what_it_waits_for_and_ends_well_once_there_is_room(
    jobs: Jobs, queue: str, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "OPERATOR_SECONDS", 10.0)
    monkeypatch.setattr(patience, "REPEAT_SECONDS", 4.0)
    settings = jobs.settings(queue=queue, cpu="200m")
    first = jobs.create(600, settings)
    eventually(lambda: jobs.phases(first) == ["Running"])
    second = jobs.create(2, settings)
    waiting = waited_for(second, settings)

    reason = rf"^PyTorchJob {jobs.namespace}/{second} waits in queue {queue}: .*insufficient unused quota for cpu"
    eventually(lambda: found(told, reason), waiting)
    eventually(lambda: (again := found(told, reason + r".* \(for (\d+) s\)")) and int(again[1]) > 10, waiting)
    assert jobs.phases(second) == []
    jobs.remove(first)
    waiting.result()

    assert found(told, r"may start, after \d+ s")


def test_a_job_that_is_taken_off_in_the_middle_waits_again(jobs: Jobs, queue: str, told: list[str]) -> None:
    settings = jobs.settings(queue=queue)
    name = jobs.create(8, settings)
    waiting = waited_for(name, settings)
    eventually(lambda: jobs.phases(name) == ["Running"], waiting)
    workloads = jobs.cluster.read(f"workloads.{KUEUE}", "--namespace", jobs.namespace)["items"]
    (workload,) = (item["metadata"]["name"] for item in workloads if f"-{name}-" in item["metadata"]["name"])

    def active(wanted: str) -> None:
        patch = f'{{"spec":{{"active":{wanted}}}}}'
        place = (f"workloads.{KUEUE}", workload, "--namespace", jobs.namespace)
        jobs.cluster.kubectl("patch", *place, "--type=merge", f"--patch={patch}")

    active("false")
    eventually(lambda: found(told, f"is stopped in queue {queue}, and waits until its Workload {workload}"), waiting)
    eventually(lambda: jobs.phases(name) == [], waiting)
    active("true")
    waiting.result()


def test_a_queue_that_is_not_there_is_told_and_waited_for_until_the_deadline(
    jobs: Jobs, queue: str, told: list[str]
) -> None:
    assert queue != "absent"
    settings = jobs.settings(queue="absent").model_copy(update={"deadline_s": 6})
    name = jobs.create(2, settings)
    words = "cannot start from queue absent as things are, .*: LocalQueue absent doesn't exist"
    with pytest.raises(SlipwayError, match=rf"{name} {words} \(after cluster.deadline_s, 6 s\)"):
        waited_for(name, settings).result()
    assert found(told, words)
    jobs.remove(name)


def test_a_job_that_outlives_its_deadline_is_given_up_also_where_the_operator_does_not_look(jobs: Jobs) -> None:
    settings = jobs.settings().model_copy(update={"deadline_s": 6})
    name = jobs.create(600, settings)
    with pytest.raises(SlipwayError, match=r"active longer than|is not done; .*\(after cluster.deadline_s, 6 s\)"):
        waited_for(name, settings).result()
    jobs.remove(name)


def test_a_pod_that_waits_for_a_node_says_why_while_it_waits(jobs: Jobs, told: list[str]) -> None:
    settings = jobs.settings(cpu="5000", unschedulable_s=5)
    name = jobs.create(2, settings)
    with pytest.raises(SlipwayError, match=rf"(?s)cannot run: pod {name}-master-0: Unschedulable: .*Insufficient cpu"):
        waited_for(name, settings).result()
    assert found(told, f"^pod {name}-master-0 waits for a node: Unschedulable: .*Insufficient cpu")
    jobs.remove(name)


def test_the_job_of_a_run_that_was_killed_is_named_to_the_next_one(
    jobs: Jobs, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in (login | {"AWS_ENDPOINT_URL": s3}).items():
        monkeypatch.setenv(name, value)
    bucket = uuid.uuid4().hex
    boto3.client("s3", endpoint_url=s3).create_bucket(Bucket=bucket)
    settings = jobs.settings(store=f"s3://{bucket}", cpu="5000")  # there is no such node: nothing is trained
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "text").write_text("none")
    config = WorkerConfig(
        dataset=tmp_path / "dataset",
        output=tmp_path,
        work=tmp_path,
        launch=tmp_path,
        digest=f"sha256:{uuid.uuid4().hex}",
        tracking_uri="http://mlflow",
        run_name="train",
        settings=TrainSettings(),
    )
    (tmp_path / "config.json").write_text(config.model_dump_json())
    before = jobs.names()
    script = f"""
from pathlib import Path
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.train.pytorchjob import PyTorchJobLauncher
settings = ClusterSettings.model_validate_json({settings.model_dump_json()!r})
PyTorchJobLauncher(settings).launch(Path({str(tmp_path / "config.json")!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    (job,) = eventually(lambda: [name for name in jobs.names() if name not in before])
    process.send_signal(signal.SIGKILL)
    process.wait()

    with pytest.raises(SlipwayError, match=f"PyTorchJob {job} does this very training") as refusal:
        PyTorchJobLauncher(settings).launch(tmp_path / "config.json")

    advice = re.search("`kubectl (delete [^`]*)`", str(refusal.value))
    assert advice
    jobs.cluster.kubectl(*advice[1].split())
    assert jobs.names() == before
    training = config.digest.removeprefix("sha256:")[:16]
    assert jobs.api.at_work(training) == []
