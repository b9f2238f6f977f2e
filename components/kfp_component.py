"""How a function becomes a component of Kubeflow Pipelines: in the one image, with all that is not needed left out.

A run on Kubeflow Pipelines is one Argo Workflow object, whose status repeats the definition and the program of a task
in several nodes. Past 1 MB Argo compresses the status, and the API server tells nothing of the tasks any more. So a
compiled component has the statements of its function, without docstring and comments, and no descriptions.
"""

import ast
from collections.abc import Callable
from typing import Any

from kfp import dsl

from components.image import IMAGE


def component(function: Callable[..., Any]) -> Any:
    """A decorator as `dsl.component`, for the image of Slipway, in which everything is installed."""
    made = dsl.component(base_image=IMAGE, install_kfp_package=False)(function)
    specification = made.component_spec
    specification.description = None
    for value in (*(specification.inputs or {}).values(), *(specification.outputs or {}).values()):
        value.description = None
    command = specification.implementation.container.command
    command[-1] = _statements(command[-1])
    return made


def _statements(source: str) -> str:
    """A program without docstrings, comments and empty lines; what it does stays the same."""
    program = ast.parse(source)
    for node in ast.walk(program):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None and len(node.body) > 1:
            node.body = node.body[1:]
    lines = ast.unparse(program).splitlines()
    return "\n" + "\n".join(line for line in lines if line.strip()) + "\n"
