"""What is left training when a run is cancelled goes, on a real cluster, and nothing else does."""

from functools import partial

import pytest

from slipway.components.errors import BadInput
from slipway.components.report.aftermath import settled
from slipway.components.report.outcome import outcome_of
from slipway.components.step_runtime.progress import Event
from slipway.components.step_runtime.run_record import Record
from slipway.components.step_runtime.step_result import Json
from slipway.components.train.cancel import remove_jobs_of
from slipway.components.train.job_manifest import RUN_LABEL
from tests.background import eventually
from tests.cluster import workflows
from tests.cluster.jobs import Jobs

pytestmark = pytest.mark.cluster
RUN, OTHER = "5f2c7d0e-8a41-4c1b-9a55-2f0d3f1f7a10", "5f2c7d0e-8a41-4c1b-9a55-2f0d3f1f7a11"


def test_the_jobs_of_a_run_that_have_not_ended_are_removed(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    without_run = jobs.create(600, jobs.settings())
    monkeypatch.setenv("SLIPWAY_RUN_ID", OTHER)
    others = jobs.create(600, jobs.settings())
    monkeypatch.setenv("SLIPWAY_RUN_ID", RUN)
    ended = jobs.create(0, jobs.settings())
    working, held = jobs.create(600, jobs.settings()), jobs.create(600, jobs.settings(), suspend=True)
    eventually(lambda: ended not in jobs.api.not_ended(f"{RUN_LABEL}={RUN}"))

    def running(name: str) -> bool:
        return jobs.phases(name) == ["Running"]

    for name in (without_run, others, working):
        eventually(partial(running, name))

    assert sorted(remove_jobs_of(RUN, jobs.namespace)) == sorted([working, held])

    eventually(lambda: not jobs.phases(working))
    assert jobs.names() == sorted([without_run, others, ended])
    assert jobs.phases(without_run) == jobs.phases(others) == ["Running"]
    assert remove_jobs_of(RUN, jobs.namespace) == []


@pytest.mark.parametrize("run", ["", "not a label"])
def test_without_an_id_nothing_is_removed(jobs: Jobs, run: str) -> None:
    name = jobs.create(600, jobs.settings())
    assert remove_jobs_of(run, jobs.namespace) == []
    assert name in jobs.names()


def test_missing_rights_are_told(jobs: Jobs) -> None:
    with pytest.raises(BadInput, match="does not let us list PyTorchJobs"):
        remove_jobs_of(RUN, "default")
    assert jobs.names() is not None


STEPS = {
    "kind": "Role",
    "rules": [
        {"apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list", "watch"]},
    ],
}
"""What the role of Kubeflow Pipelines gives its steps where they run."""


@pytest.mark.usefixtures("workflow_kind")
def test_the_closing_step_of_a_terminated_run_ends_its_training_and_calls_it_cancelled(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, names = "rbac.authorization.k8s.io", {"name": "steps", "namespace": jobs.namespace}
    account = {"kind": "ServiceAccount", "name": "slipway-pipeline", "namespace": jobs.namespace}
    reference = {"roleRef": {"apiGroup": api, "kind": "Role", "name": "steps"}, "subjects": [account]}
    binding = {"apiVersion": f"{api}/v1", "kind": "RoleBinding", "metadata": names} | reference
    jobs.cluster.apply({"apiVersion": f"{api}/v1", "metadata": names} | STEPS, binding)
    monkeypatch.setenv("SLIPWAY_RUN_ID", RUN)
    monkeypatch.setenv("KFP_NAMESPACE", jobs.namespace)
    workflows.make(jobs.cluster, jobs.namespace, RUN)
    training = jobs.create(600, jobs.settings())
    eventually(lambda: jobs.phases(training) == ["Running"])
    asked: Json = {"model_name": "m", "settings": {"cluster": {"namespace": jobs.namespace}}}
    events = [Event(time=1.0, step="train", kind="started")]
    workflows.terminate(jobs.cluster, jobs.namespace, RUN)

    record = settled(Record(None, {"preflight": asked}, None, events), RUN)

    outcome = outcome_of(record)
    assert (outcome.title, outcome.exit_code) == ("cancelled", 6)
    assert f"PyTorchJob {training} was removed" in outcome.sentence
    eventually(lambda: not jobs.phases(training))
