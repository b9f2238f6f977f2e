"""Send the pipeline to a Kubeflow Pipelines endpoint, and follow the run there to its end."""

import contextlib
import io
import json
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from rich.console import Console

from components import run_record
from components.errors import BadInput, SlipwayError
from components.report.outcome import Outcome, outcome_of
from components.report.timing import STEPS
from pipelines import form
from pipelines.for_cluster import for_pods
from pipelines.settings import SlipwaySettings

TOKEN = "SLIPWAY_KFP_TOKEN"
"""Environment variable with the bearer token of an endpoint that asks for one."""

SECONDS = 5.0
"""To reach the endpoint, before anything is sent."""

POLL_SECONDS = 5.0
OUTAGE_SECONDS = 120.0
"""How long the endpoint may be away while a run is followed."""

SHOWN = ("preflight", *STEPS)
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


@dataclass(frozen=True)
class Submitted:
    """A run on Kubeflow Pipelines."""

    run_id: str
    url: str
    place: str
    """URI of its record."""


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
        token = os.environ.get(TOKEN, "")
        check_endpoint(self.address, token)
        import kfp

        with self._talking(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it works with version 2 only
            self._client = kfp.Client(
                host=self.address, existing_token=token or None, namespace=namespace or "kubeflow"
            )

    def send(self, name: str, experiment: str, arguments: dict[str, Any], record: str) -> Submitted:
        """Compile the pipeline and start it.

        Raises:
            BadInput: the endpoint refuses it.
        """
        from kfp import compiler

        from pipelines.pipeline import pipeline

        with tempfile.TemporaryDirectory() as folder, self._talking():
            package = str(Path(folder) / "pipeline.yaml")
            compiler.Compiler().compile(pipeline, package)
            made = self._client.create_experiment(experiment, namespace=self.namespace or None)
            run = self._client.run_pipeline(made.experiment_id, name, package, arguments)
        return Submitted(run.run_id, f"{self.address}/#/runs/details/{run.run_id}", f"{record}/{run.run_id}")

    def look(self, run: Submitted) -> tuple[str, dict[str, str]]:
        """The state of a run and of the tasks in it, by name."""
        with self._talking():
            found = self._client.get_run(run.run_id)
        tasks = (found.run_details.task_details if found.run_details else None) or []
        return found.state or "PENDING", {task.display_name: task.state or "PENDING" for task in tasks}

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
            words = f"{error.status} {_message(error)}".strip()
            if error.status in (401, 403):
                raise BadInput(f"{self.address} refuses us ({words}); {_login()}") from None
            if error.status and error.status < 500:
                raise BadInput(f"{self.address} refuses the request ({words})") from None
            raise EndpointAway(f"{self.address} answers {words}") from None
        except (HTTPError, OSError) as error:
            raise EndpointAway(f"{self.address} cannot be reached ({type(error).__name__})") from None


class EndpointAway(SlipwayError):
    """The endpoint does not answer at the moment."""


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
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.get(f"{address}/apis/v2beta1/healthz", headers=headers, timeout=SECONDS)
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


def submit(
    settings: SlipwaySettings, endpoint: str, experiment: str, namespace: str, console: Console
) -> tuple[Endpoint, Submitted]:
    """Send a run with these settings and say where it can be seen.

    Args:
        settings: as they were given, not resolved for this machine.
        endpoint: address of Kubeflow Pipelines.
        experiment: its name there; made when it is new.
        namespace: the profile's, in a multi-user installation.
        console: gets the run's address.

    Raises:
        BadInput: the settings name something that pods cannot reach, or the endpoint cannot be used.
    """
    settings = for_pods(settings)
    name = f"{settings.model_name} {time.strftime('%Y-%m-%d %H:%M:%S')}"
    arguments = form.filled(settings, for_pods(SlipwaySettings()))
    there = Endpoint(endpoint, namespace)
    run = there.send(name, experiment, arguments, run_record.uri_of(settings.model_dump()))
    console.print(f"run {run.run_id} of {settings.model_name}: {run.url}", highlight=False)
    return there, run


def follow(endpoint: Endpoint, run: Submitted, console: Console, poll_s: float = POLL_SECONDS) -> str:
    """Show how the steps of a run go on until it ended; returns its state.

    Raises:
        EndpointAway: the endpoint was away for minutes; the run goes on without us.
    """
    shown: dict[str, str] = {}
    reached = time.monotonic()
    while True:
        try:
            state, tasks = endpoint.look(run)
            reached = time.monotonic()
        except EndpointAway as error:
            if time.monotonic() - reached > OUTAGE_SECONDS:
                raise EndpointAway(f"{error}; the run goes on, see {run.url}") from error
            state, tasks = "UNKNOWN", {}
        for task, now in tasks.items():
            if task.replace("-", "_") in SHOWN and shown.get(task) != now:
                shown[task] = now
                console.print(f"{task.replace('-', ' '):<13} {now.lower()}", highlight=False)
        if state in ENDED:
            return state
        time.sleep(poll_s)


def outcome(run: Submitted, state: str, model_name: str, report: Path) -> tuple[Outcome, Path | None]:
    """How a run ended, as its record says; brings its report to a file.

    Args:
        run: the run.
        state: what Kubeflow Pipelines says.
        model_name: of the run.
        report: path of the file.

    Returns:
        The outcome, and the path of the report when there is one. Without a record, which this machine may not be
        able to read, the outcome is the state.
    """
    try:
        record = run_record.read(run.place)
        if not record.results and not record.failure:
            raise BadInput(f"nothing is there under {run.place}")
    except BadInput as error:
        words = f"{model_name} ended as {state}; its record cannot be read from here, so no more is known ({error})"
        good = state == "SUCCEEDED"
        return Outcome("succeeded" if good else "failed", words, 0 if good else 1, "neutral" if good else "bad"), None
    with contextlib.suppress(BadInput):
        run_record.get_report(run.place, report)
    return outcome_of(record), report if report.exists() else None


def _message(error: Any) -> str:
    """The server's own words."""
    try:
        said = json.loads(error.body)
        return str(said.get("error_message") or said.get("message") or error.reason)[:500]
    except (ValueError, TypeError, AttributeError):
        return str(error.reason)[:500]


def _login() -> str:
    return f"put a token that it accepts into the environment variable {TOKEN}"
