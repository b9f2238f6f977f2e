"""A decorator that makes a function a component of Kubeflow Pipelines, which runs it from the installed package.

`dsl.component` of kfp would put the source of the function and the descriptions of its parameters into the pipeline. A
run on Kubeflow Pipelines is one Argo Workflow object, whose status repeats the definition of a task a dozen times. Past
1 MB Argo compresses the status, and then the API server returns no tasks.
"""

import os
from collections.abc import Callable
from typing import Any

from kfp import dsl

from slipway.components.platforms.container_image import IMAGE

EXECUTOR = "kfp.dsl.executor_main"
"""kfp.local runs a command only if it contains this name."""


def component(function: Callable[..., Any]) -> Any:
    """Make a function a component, as `dsl.component` does, for the image of Slipway, which has all packages."""
    if os.environ.get("_KFP_RUNTIME") == "true":  # in a step's process, where kfp does not load its compiler
        return function
    kfp_component = dsl.component(base_image=IMAGE, install_kfp_package=False)(function)
    specification = kfp_component.component_spec
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
    container.args = ["{{$}}"]  # kfp replaces it by JSON with the inputs and the paths of the outputs
    return kfp_component
