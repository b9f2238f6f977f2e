"""The program of every step's pod: `python -m slipway.components.step_runtime.step_program EXECUTOR MODULE:FUNCTION
INPUT`.

EXECUTOR is the module of kfp that calls functions. INPUT is what Kubeflow Pipelines passes to it: JSON with the inputs
and the paths of the outputs.
"""

import importlib
import json
import os
import sys

from slipway.components.platforms import mounted_credentials


def main(executor: str, function_path: str, executor_input: str) -> None:
    """Call the function of a component, and write what it returns to the paths where Kubeflow Pipelines reads it.

    Args:
        executor: name of kfp's module.
        function_path: of the function, MODULE:FUNCTION.
        executor_input: JSON with the inputs and the paths of the outputs.
    """
    os.environ["_KFP_RUNTIME"] = "true"  # kfp then does not import its compiler
    mounted_credentials.load()  # before other imports: some libraries read the environment when they are imported
    executor_module = importlib.import_module(executor)
    module, _, name = function_path.partition(":")
    function = getattr(importlib.import_module(module), name)
    executor_module.component_executor.Executor(
        executor_input=json.loads(executor_input), function_to_execute=function
    ).execute()


if __name__ == "__main__":
    main(*sys.argv[1:])
