"""How a function becomes a component of Kubeflow Pipelines, which runs it from the installed package.

A run on Kubeflow Pipelines is one Argo Workflow object, whose status repeats the definition and the program of a task
a dozen times. Past 1 MB Argo compresses the status, and the API server tells nothing of the tasks any more. kfp would
put the source of the function and the descriptions of its parameters there.
"""

import os
from collections.abc import Callable
from typing import Any

from kfp import dsl

from slipway.components.platforms.container_image import IMAGE

EXECUTOR = "kfp.dsl.executor_main"
"""kfp.local runs no command that does not name it."""


def component(function: Callable[..., Any]) -> Any:
    """A decorator as `dsl.component`, for the image of Slipway, in which everything is installed."""
    if os.environ.get("_KFP_RUNTIME") == "true":  # a step runs, and kfp is there without what makes pipelines
        return function
    made = dsl.component(base_image=IMAGE, install_kfp_package=False)(function)
    specification = made.component_spec
    specification.description = None
    for value in (*(specification.inputs or {}).values(), *(specification.outputs or {}).values()):
        value.description = None
    container = specification.implementation.container
    container.command = [
        "python3",
        "-m",
        "slipway.components.step_runtime.step_program",
        EXECUTOR,
        f"{function.__module__}:{function.__name__}",
    ]
    container.args = ["{{$}}"]  # kfp puts the inputs and the places of the outputs here
    return made
