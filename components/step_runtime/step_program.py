"""The program of every step's pod: `python -m slipway.components.step_runtime.step_program EXECUTOR MODULE:FUNCTION
INPUT`.

EXECUTOR is the module of kfp that calls functions, INPUT what Kubeflow Pipelines gives it: JSON with the inputs, and
the places of the outputs.
"""

import importlib
import json
import os
import sys

from slipway.components.platforms import mounted_credentials


def main(executor: str, place: str, given: str) -> None:
    """Call the function of a component, and write what it returns to where Kubeflow Pipelines reads it."""
    os.environ["_KFP_RUNTIME"] = "true"  # spares the import of what makes pipelines
    mounted_credentials.load()  # some libraries read the environment when they are imported
    program = importlib.import_module(executor)
    module, _, name = place.partition(":")
    function = getattr(importlib.import_module(module), name)
    program.component_executor.Executor(executor_input=json.loads(given), function_to_execute=function).execute()


if __name__ == "__main__":
    main(*sys.argv[1:])
