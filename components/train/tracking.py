"""The MLflow run of a training: logs parameters and metrics. A training that is killed and resumed has one run."""

import json
import os
import time
from pathlib import Path
from typing import Any

from mlflow.entities import LifecycleStage, Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from slipway.components.clients.credentials import without_credentials
from slipway.components.errors import BadInput
from slipway.components.learning.training_checkpoints import write_json
from slipway.components.platforms.tracking_server import advice, connect, experiment_of
from slipway.components.step_runtime import progress
from slipway.components.train.config import STEP

PARAMETER_LIMIT = 500
"""Most characters of a parameter that are logged."""


class Tracker:
    """The MLflow run of a training: the run that a killed training with the same digest left, or else a new run.

    A new run is a child of the run in the environment variable `MLFLOW_RUN_ID`, in the experiment of that run, if the
    tracking server has it. The MLflow plugin of Kubeflow Pipelines makes such a run for each step, logs to it and ends
    it. That run may be on another server.

    Args:
        uri: of the tracking server.
        experiment: name of the experiment for a run without a parent; made when it is new.
        run_name: name of a new run.
        work: the training's work folder, which remembers the run.
        digest: of the training.

    Raises:
        BadInput: the tracking server cannot be used, or the experiment was deleted.
    """

    def __init__(self, uri: str, experiment: str, run_name: str, work: Path, digest: str) -> None:
        self.record, self.digest = work / "mlflow.json", digest
        try:
            self.client = connect(uri)
            run = self._existing_run() or self._new_run(experiment, run_name)
        except (MlflowException, OSError) as error:
            message = f"the MLflow tracking server {uri} cannot be used ({error}); {advice(error)}"
            raise BadInput(without_credentials(message)) from error
        self.run_id: str = run.info.run_id
        self._known_parameters: dict[str, str] = run.data.params
        self._logged_until = self._last_step(run)
        write_json(self.record, {"digest": digest, "run_id": self.run_id})

    def log_parameters(self, parameters: dict[str, Any]) -> None:
        """Log the parameters that the run does not have yet, since MLflow does not allow a parameter to change."""
        values = {name: str(value)[:PARAMETER_LIMIT] for name, value in parameters.items()}
        kept = [name for name, value in values.items() if self._known_parameters.get(name, value) != value]
        if kept:
            progress.report(STEP, f"the MLflow run keeps its earlier values of {', '.join(kept)}")
        new = [Param(name, value) for name, value in values.items() if name not in self._known_parameters]
        self._log(params=new)

    def log_metrics(self, metrics: dict[str, float], update: int) -> None:
        """Log metrics at an update, unless an earlier, killed process already logged them."""
        if update > self._logged_until.get(next(iter(metrics)), -1):
            now = int(time.time() * 1000)
            self._log(metrics=[Metric(name, value, now, update) for name, value in metrics.items()])

    def finish(self, status: str) -> None:
        """End the run with an MLflow status such as FINISHED or FAILED.

        A finished run is not resumed: a later training with the same digest makes a run of its own.
        """
        if status == "FINISHED":
            self.record.unlink(missing_ok=True)
        try:
            self.client.set_terminated(self.run_id, status)
        except MlflowException as error:
            progress.report(STEP, without_credentials(f"MLflow could not end the run: {error}"))

    def _log(self, metrics: list[Metric] | None = None, params: list[Param] | None = None) -> None:
        """Log to MLflow. A failure is only reported: the training must go on, and its result has the curves, too."""
        try:
            self.client.log_batch(self.run_id, metrics=metrics or [], params=params or [])
        except MlflowException as error:
            progress.report(STEP, without_credentials(f"MLflow did not take the values: {error}"))

    def _existing_run(self) -> Run | None:
        try:
            record = json.loads(self.record.read_text("utf-8"))
            if record["digest"] != self.digest:
                return None
            run = self.client.get_run(record["run_id"])
            self.client.update_run(run.info.run_id, status="RUNNING")
        except (OSError, ValueError, KeyError, MlflowException):
            return None
        return run

    def _new_run(self, experiment: str, run_name: str) -> Run:
        if parent := self._parent():
            tags = {MLFLOW_PARENT_RUN_ID: parent.info.run_id}
            return self.client.create_run(parent.info.experiment_id, run_name=run_name, tags=tags)
        existing = experiment_of(self.client, experiment)
        if existing is None:
            try:
                experiment_id = self.client.create_experiment(experiment)
            except MlflowException:  # another process may have made it in the meantime
                existing = self.client.get_experiment_by_name(experiment)
                if existing is None:
                    raise
        return self.client.create_run(existing.experiment_id if existing else experiment_id, run_name=run_name)

    def _parent(self) -> Run | None:
        """The run that the environment names; None when it names none, or the tracking server does not have it."""
        run_id = os.environ.get("MLFLOW_RUN_ID")
        if not run_id:
            return None
        try:
            parent = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
        else:
            if parent.info.lifecycle_stage == LifecycleStage.ACTIVE:
                return parent
        progress.report(STEP, f"MLFLOW_RUN_ID {run_id} is ignored: the tracking server has no such run")
        return None

    def _last_step(self, run: Run) -> dict[str, int]:
        names = run.data.metrics
        return {
            name: max((point.step for point in self.client.get_metric_history(run.info.run_id, name)), default=-1)
            for name in names
        }
