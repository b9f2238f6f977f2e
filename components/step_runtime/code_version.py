"""The version of the code that a step runs, so that a cache knows when a step must run again.

A step's code is what its module `step` imports, directly or through other modules. What the component does around it,
such as the section of the report, is left out: a page that looks better is no reason to train again.
"""

import ast
import hashlib
import re
from functools import cache
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "slipway.components"
MODULE = re.compile(rf"{re.escape(PACKAGE)}(\.\w+)+")
LIBRARIES = (
    "torch",
    "transformers",
    "accelerate",
    "onnxruntime",
    "onnx",
    "datasets",
    "scikit-learn",
    "tokenizers",
    "opacus",
)
"""Libraries whose version changes what a step makes."""

DATA = (".csv", ".j2")
"""Suffixes of files that belong to the package in whose folder they are."""


def code_version(*steps: str) -> str:
    """A short digest of the code of the given steps with its data, and of the versions of `LIBRARIES`.

    Raises:
        ValueError: there is no such step.
    """
    whole = hashlib.sha256()
    for library in LIBRARIES:
        whole.update(f"{library}=={metadata.version(library)}\n".encode())
    for file in sorted(code_of(*steps)):
        whole.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return whole.hexdigest()[:16]


def code_of(*steps: str) -> set[Path]:
    """The files with the code of the given steps.

    Raises:
        ValueError: there is no such step.
    """
    waiting = [f"{PACKAGE}.{step}.step" for step in steps]
    if absent := [module for module in waiting if _file(module) is None]:
        raise ValueError(f"{', '.join(absent)} is no module; expected the names of folders that have a step.py")
    found: set[Path] = set()
    while waiting:
        module = waiting.pop()
        file = _file(module)
        if file is None or file in found:
            continue
        found.add(file)
        if file.name == "__init__.py":
            found.update(path for path in file.parent.iterdir() if path.suffix in DATA)
        if module != PACKAGE:
            waiting.append(module.rpartition(".")[0])  # Python imports it first
        waiting += _named(file.read_bytes())
    return found


def _file(module: str) -> Path | None:
    """The file of a module of the components; None for a name that is none."""
    path = ROOT.joinpath(*module.removeprefix(PACKAGE).strip(".").split("."))
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


@cache
def _named(source: bytes) -> tuple[str, ...]:
    """What may be modules of the components in a module: in its imports, also those of functions, and in strings.

    A string of that form is the program of a child process, or the package of a data file.
    """
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.append(node.value)
    return tuple(name for name in names if MODULE.fullmatch(name))
