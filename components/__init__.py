"""The steps of the pipeline, one package each, and the data forms that they share."""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
"""MLflow reports its use to its makers when it is imported, unless told otherwise."""
