"""The few requests that Slipway makes of a Kubeflow Pipelines endpoint; its refusals become clear errors.

What it tells of a run differs between versions (2.17 reads MLMD and the Argo Workflow, later ones have task APIs), so
both words for a state are known, and everything but a run's state may be missing.
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

from slipway.components.errors import BadInput, SlipwayError

TOKEN = "SLIPWAY_KFP_TOKEN"
"""Environment variable with the bearer token of an endpoint that asks for one."""

SECONDS = 5.0
"""To reach the endpoint, before anything is sent."""

ANSWER_SECONDS = 30.0
"""For an answer about a run, which may be large."""

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
"""What the words of the API mean for a step; a task with none, or with another one, does not run."""

RUN_ENDED = ("SUCCEEDED", "COMPLETE", "COMPLETED", "CACHED", "FAILED", "ERROR", "CANCELED", "SKIPPED")
RUN_CANCELLED = ("CANCELED", "CANCELING")


@dataclass(frozen=True)
class Submitted:
    """A run on Kubeflow Pipelines."""

    run_id: str
    url: str
    place: str
    """URI of its record."""


class Task(NamedTuple):
    """What the API says of a task; times are seconds since 1970, None where it has none."""

    name: str
    state: str
    """As in `slipway.pipelines.progress_view.MARKS`."""
    started: float | None
    ended: float | None


class Look(NamedTuple):
    """A run at one moment."""

    state: str
    """In the words of the API."""
    tasks: list[Task]
    """Those with a name, drivers and retries among them; a name may come several times."""


class EndpointAway(SlipwayError):
    """The endpoint does not answer at the moment."""


class Endpoint:
    """A Kubeflow Pipelines API.

    Args:
        address: of the API or of the UI, which share one; `http://…` or `https://…`.
        namespace: the profile's, in a multi-user installation.

    Raises:
        BadInput: nobody answers there, it is no Kubeflow Pipelines, or it refuses the credentials.
    """

    def __init__(self, address: str, namespace: str = "") -> None:
        self.address, self.namespace = address.rstrip("/"), namespace
        self._token = os.environ.get(TOKEN, "")
        check_endpoint(self.address, self._token)
        import kfp

        with self._talking(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it works with version 2 only
            self._client = kfp.Client(
                host=self.address, existing_token=self._token or None, namespace=namespace or "kubeflow"
            )

    def send(self, name: str, experiment: str, arguments: dict[str, Any], record: str) -> Submitted:
        """Compile the pipeline and start it.

        The run carries the pipeline's definition: no version is uploaded. The cache goes by the pipeline's name, so
        it is shared with runs of an uploaded one.

        Raises:
            BadInput: the endpoint refuses it.
        """
        from kfp import compiler

        from slipway.pipelines.pipeline import pipeline

        with tempfile.TemporaryDirectory() as folder, self._talking():
            package = str(Path(folder) / "pipeline.yaml")
            compiler.Compiler().compile(pipeline, package)
            made = self._client.create_experiment(experiment, namespace=self.namespace or None)
            run = self._client.run_pipeline(made.experiment_id, name, package, arguments)
        return Submitted(run.run_id, f"{self.address}/#/runs/details/{run.run_id}", f"{record}/{run.run_id}")

    def look(self, run: Submitted) -> Look:
        """A run as it stands.

        It is read as plain JSON, with a time limit: kfp's client has none, and fails where a field has another type.

        Raises:
            BadInput: the endpoint refuses us, or does not know the run.
            EndpointAway: it does not answer.
        """
        headers = _headers(self._token)
        url = f"{self.address}/apis/v2beta1/runs/{quote(run.run_id, safe='')}"
        try:
            answer = httpx.get(url, headers=headers, timeout=httpx.Timeout(ANSWER_SECONDS, connect=SECONDS))
            body = answer.json() if answer.is_success else None
        except httpx.HTTPError as error:
            raise EndpointAway(f"{self.address} cannot be reached ({type(error).__name__})") from None
        except ValueError:
            raise EndpointAway(f"{self.address} does not answer in JSON") from None
        if not answer.is_success:
            raise self._refusal(answer.status_code, _words(answer.text) or answer.reason_phrase)
        return look_of(body)

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        """Keep what the client prints to itself, and turn its errors into ours."""
        import kfp_server_api  # type: ignore[import-untyped]
        from urllib3.exceptions import HTTPError

        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        except kfp_server_api.ApiException as error:
            raise self._refusal(error.status or 0, _words(error.body) or str(error.reason)) from None
        except (HTTPError, OSError) as error:
            raise EndpointAway(f"{self.address} cannot be reached ({type(error).__name__})") from None

    def _refusal(self, status: int, words: str) -> SlipwayError:
        said = f"{status} {words[:500]}".strip()
        if status in (401, 403) or 300 <= status < 400:  # to a login page
            return BadInput(f"{self.address} refuses us ({said}); {_login()}")
        if 400 <= status < 500 and status not in (408, 429):
            return BadInput(f"{self.address} refuses the request ({said})")
        return EndpointAway(f"{self.address} answers {said}")


def look_of(body: Any) -> Look:
    """What an answer about a run says; any field of it may be missing, null, or of another type."""
    run = body if isinstance(body, Mapping) else {}
    details = run.get("run_details")
    listed = details.get("task_details") if isinstance(details, Mapping) else None
    entries = [entry for entry in listed or [] if isinstance(entry, Mapping)] if isinstance(listed, list) else []
    return Look(str(run.get("state") or "PENDING"), [_task(entry) for entry in entries if entry.get("display_name")])


def _task(entry: Mapping[str, Any]) -> Task:
    started, ended = _time(entry.get("start_time")), _time(entry.get("end_time"))
    state = TASK_STATES.get(str(entry.get("state")), "waiting")
    if state == "done" and started is not None and started == ended:
        state = "unchanged"  # a task from the cache has no pod, so Argo notes one moment
    return Task(str(entry["display_name"]), state, started, ended)


def _time(text: Any) -> float | None:
    """Seconds since 1970; the API writes the year 1 for no time."""
    try:
        seconds = datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None


def check_endpoint(address: str, token: str) -> None:
    """See within seconds that an address is a Kubeflow Pipelines API that lets us in.

    Raises:
        BadInput: it is not; the message says what to do and never holds the token.
    """
    if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
        raise BadInput(f"endpoint {address!r} is no address; give one such as http://127.0.0.1:8888")
    if urlsplit(address).password:
        raise BadInput(f"the endpoint's address holds a password; leave it out, and {_login()}")
    advice = "`kubectl port-forward --namespace kubeflow service/ml-pipeline-ui 8888:80` makes it http://127.0.0.1:8888"
    try:
        answer = httpx.get(f"{address}/apis/v2beta1/healthz", headers=_headers(token), timeout=SECONDS)
    except (httpx.HTTPError, ValueError) as error:
        raise BadInput(f"{address} cannot be reached ({type(error).__name__}: {error}); {advice}") from None
    if answer.status_code in (401, 403) or answer.is_redirect:  # to a login page
        raise BadInput(f"{address} refuses us ({answer.status_code}); {_login()}")
    try:
        is_ours = answer.status_code == 200 and isinstance(answer.json(), dict)
    except ValueError:
        is_ours = False
    if not is_ours:
        raise BadInput(f"{address} is no Kubeflow Pipelines API (healthz answers {answer.status_code}); {advice}")


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _words(body: str) -> str:
    """The server's own words; empty when it has none."""
    try:
        said = json.loads(body)
        return str(said.get("error_message") or said.get("message") or "")
    except (ValueError, TypeError, AttributeError):
        return ""


def _login() -> str:
    return f"put a token that it accepts into the environment variable {TOKEN}"
