"""What the removal of a run's jobs does where the cluster does not do what it is asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway.components.errors import BadInput, SlipwayError
from slipway.components.train.cancel import remove_jobs_of
from tests.components.train.api_server import ApiServer, api_server, use
from tests.conftest import free_port

JOBS = "/namespaces/n/pytorchjobs"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """A cluster with two jobs of the run."""
    with api_server() as server:
        use(server.address, tmp_path, monkeypatch)
        items = [{"metadata": {"name": name}} for name in ("train-1", "train-2")]
        server.answers["GET", JOBS] = 200, {"items": items}
        yield server


def test_one_job_that_cannot_be_removed_does_not_save_the_others(api: ApiServer) -> None:
    api.answers["DELETE", f"{JOBS}/train-1"] = 403, {"message": "forbidden"}
    api.answers["DELETE", f"{JOBS}/train-2"] = 200, {}
    with pytest.raises(SlipwayError, match=r"run-7 these go on: train-1 \(.*forbidden.*; remove them by `kubectl"):
        remove_jobs_of("run-7", "n")
    assert api.requests[0].endswith("?labelSelector=slipway.dev%2Frun%3Drun-7")
    place = f"DELETE /apis/kubeflow.org/v1{JOBS}"
    assert api.requests[1:] == [f"{place}/train-{number}?propagationPolicy=Background" for number in (1, 2)]


def test_a_job_that_went_by_itself_is_removed(api: ApiServer) -> None:
    assert all(answered == "GET" for answered, _ in api.answers)  # a DELETE finds nothing
    assert remove_jobs_of("run-7", "n") == ["train-1", "train-2"]


def test_a_cluster_without_the_training_operator_has_nothing_to_remove(api: ApiServer) -> None:
    del api.answers["GET", JOBS]
    assert remove_jobs_of("run-7", "n") == []


def test_a_cluster_that_is_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(f"http://127.0.0.1:{free_port()}", tmp_path, monkeypatch)
    with pytest.raises(SlipwayError, match="no answer from the API server"):
        remove_jobs_of("run-7", "n")


def test_no_cluster_at_all_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(BadInput, match="set KUBECONFIG"):
        remove_jobs_of("run-7", "n")
