"""The requests that Slipway sends to the API of Kubeflow Pipelines. Rejected requests become clear errors.

What the API returns about a run differs between versions: 2.17 reads MLMD and the Argo Workflow, later versions have
task APIs. So this module knows the state names of both, and expects that any field but a run's state may be missing.
"""

import contextlib
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx

from slipway.components.clients.credentials import authorities, trust_advice, trusted
from slipway.components.errors import BadInput, SlipwayError

TOKEN = "SLIPWAY_KFP_TOKEN"
"""Environment variable with the bearer token, for an endpoint that requires one."""

SECONDS = 5.0
"""Timeout of connecting to the endpoint, and of its health check."""

ANSWER_SECONDS = 30.0
"""Timeout of a response about a run, which may be large."""

TASK_STATES = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "PAUSED": "running",
    "CANCELING": "running",
    "SUCCEEDED": "done",
    "COMPLETE": "done",
    "COMPLETED": "done",
    "CACHED": "unchanged",
    "FAILED": "failed",
    "ERROR": "failed",
    "CANCELED": "cancelled",
}
"""The state of a step for each state of the API. A task with another state, or without one, is waiting."""

RUN_ENDED = ("SUCCEEDED", "COMPLETE", "COMPLETED", "CACHED", "FAILED", "ERROR", "CANCELED", "SKIPPED")
RUN_CANCELLED = ("CANCELED", "CANCELING")


@dataclass(frozen=True)
class Submitted:
    """A run on Kubeflow Pipelines."""

    run_id: str
    url: str
    record_uri: str
    """URI of its record."""


class Task(NamedTuple):
    """A task as the API describes it. Times are seconds since 1970; None where the API has none."""

    name: str
    state: str
    """As in `slipway.pipelines.progress_view.MARKS`."""
    started: float | None
    ended: float | None


class Look(NamedTuple):
    """The state of a run and of its tasks at one moment."""

    state: str
    """As the API names it, such as `SUCCEEDED`."""
    tasks: list[Task]
    """The tasks that have a name, with drivers and retries. A name may occur several times."""


class EndpointAway(SlipwayError):
    """The endpoint does not respond at the moment."""


class Endpoint:
    """A Kubeflow Pipelines API.

    Args:
        address: `http://…` or `https://…`, of the API or of the UI, which have the same address.
        namespace: of the user's profile, in a multi-user installation.

    Raises:
        BadInput: the address does not respond, is no Kubeflow Pipelines, or rejects the credentials.
    """

    def __init__(self, address: str, namespace: str = "") -> None:
        self.address, self.namespace = address.rstrip("/"), namespace
        self._token = os.environ.get(TOKEN, "")
        check_endpoint(self.address, self._token)
        import kfp

        with self._talking(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # kfp warns that this client works with version 2 only
            self._client = kfp.Client(
                host=self.address,
                existing_token=self._token or None,
                namespace=namespace or "kubeflow",
                ssl_ca_cert=authorities(),
            )

    def send(self, name: str, experiment: str, arguments: dict[str, Any], record: str) -> Submitted:
        """Compile the pipeline and start it.

        The run carries the pipeline's definition, so no version of the pipeline is uploaded. The cache depends on the
        pipeline's name, so runs of an uploaded pipeline share it.

        Args:
            name: of the run.
            experiment: name of its experiment; made when it is new.
            arguments: the pipeline's parameters.
            record: URI below which the records of runs are kept.

        Raises:
            BadInput: the endpoint rejects the run.
            EndpointAway: the endpoint does not respond.
        """
        from kfp import compiler

        from slipway.pipelines.pipeline import pipeline

        with tempfile.TemporaryDirectory() as folder, self._talking():
            package = str(Path(folder) / "pipeline.yaml")
            compiler.Compiler().compile(pipeline, package)
            experiment_info = self._client.create_experiment(experiment, namespace=self.namespace or None)
            run = self._client.run_pipeline(experiment_info.experiment_id, name, package, arguments)
        return Submitted(run.run_id, f"{self.address}/#/runs/details/{run.run_id}", f"{record}/{run.run_id}")

    def look(self, run: Submitted) -> Look:
        """Read the present state of a run.

        The response is read as plain JSON, with a timeout: kfp's client has no timeout, and fails on a field of an
        unexpected type.

        Raises:
            BadInput: the endpoint rejects the request, or does not know the run.
            EndpointAway: it does not respond.
        """
        headers = _headers(self._token)
        url = f"{self.address}/apis/v2beta1/runs/{quote(run.run_id, safe='')}"
        try:
            limit = httpx.Timeout(ANSWER_SECONDS, connect=SECONDS)
            response = httpx.get(url, headers=headers, timeout=limit, verify=trusted(self.address))
            body = response.json() if response.is_success else None
        except httpx.HTTPError as error:
            raise EndpointAway(f"{self.address} cannot be reached ({type(error).__name__})") from None
        except ValueError:
            raise EndpointAway(f"{self.address} does not answer in JSON") from None
        if not response.is_success:
            raise self._refusal(response.status_code, _message_of(response.text) or response.reason_phrase)
        return look_of(body)

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        """Suppress the output of kfp's client, and turn its errors into Slipway's."""
        import kfp_server_api
        from urllib3.exceptions import HTTPError

        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        except kfp_server_api.ApiException as error:
            raise self._refusal(error.status or 0, _message_of(error.body) or str(error.reason)) from None
        except (HTTPError, OSError) as error:
            raise EndpointAway(f"{self.address} cannot be reached ({type(error).__name__})") from None

    def _refusal(self, status: int, message: str) -> SlipwayError:
        quoted = f"{status} {message[:500]}".strip()
        if status in (401, 403) or 300 <= status < 400:  # to a login page
            return BadInput(f"{self.address} refuses us ({quoted}); {_login()}")
        if 400 <= status < 500 and status not in (408, 429):
            return BadInput(f"{self.address} refuses the request ({quoted})")
        return EndpointAway(f"{self.address} answers {quoted}")


def look_of(body: Any) -> Look:
    """The state of a run from the API's response. Any field may be missing, null, or of another type."""
    run = body if isinstance(body, Mapping) else {}
    details = run.get("run_details")
    task_details = details.get("task_details") if isinstance(details, Mapping) else None
    entries = (
        [entry for entry in task_details or [] if isinstance(entry, Mapping)] if isinstance(task_details, list) else []
    )
    return Look(str(run.get("state") or "PENDING"), [_task(entry) for entry in entries if entry.get("display_name")])


def _task(entry: Mapping[str, Any]) -> Task:
    started, ended = _time(entry.get("start_time")), _time(entry.get("end_time"))
    state = TASK_STATES.get(str(entry.get("state")), "waiting")
    if state == "done" and started is not None and started == ended:
        state = "unchanged"  # a task from the cache has no pod, so Argo notes the same time for start and end
    return Task(str(entry["display_name"]), state, started, ended)


def _time(text: Any) -> float | None:
    """Seconds since 1970; None for no time, which the API writes as the year 1."""
    try:
        seconds = datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None


def check_endpoint(address: str, token: str) -> None:
    """Check within `SECONDS` that an address is a Kubeflow Pipelines API that accepts the token.

    Raises:
        BadInput: it is not. The message says what to do, and never holds the token.
    """
    if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
        raise BadInput(f"endpoint {address!r} is no address; give one such as http://127.0.0.1:8888")
    if urlsplit(address).password:
        raise BadInput(f"the endpoint's address holds a password; leave it out, and {_login()}")
    advice = "`kubectl port-forward --namespace kubeflow service/ml-pipeline-ui 8888:80` makes it http://127.0.0.1:8888"
    try:
        response = httpx.get(
            f"{address}/apis/v2beta1/healthz", headers=_headers(token), timeout=SECONDS, verify=trusted(address)
        )
    except (httpx.HTTPError, ValueError) as error:
        advice = trust_advice(error).removeprefix("; ") or advice
        raise BadInput(f"{address} cannot be reached ({type(error).__name__}: {error}); {advice}") from None
    if response.status_code in (401, 403) or response.is_redirect:  # to a login page
        raise BadInput(f"{address} refuses us ({response.status_code}); {_login()}")
    try:
        is_kubeflow = response.status_code == 200 and isinstance(response.json(), dict)
    except ValueError:
        is_kubeflow = False
    if not is_kubeflow:
        raise BadInput(f"{address} is no Kubeflow Pipelines API (healthz answers {response.status_code}); {advice}")


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _message_of(body: str) -> str:
    """The error message in a response; empty when it has none."""
    try:
        content = json.loads(body)
        return str(content.get("error_message") or content.get("message") or "")
    except (ValueError, TypeError, AttributeError):
        return ""


def _login() -> str:
    return f"put a token that it accepts into the environment variable {TOKEN}"
