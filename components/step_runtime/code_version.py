"""The version of a step's code, which is part of the cache's key: when it changes, the step runs again.

A step's code is what its module `step` imports, directly or through other modules. The code of the component around
it, such as the section of the report, is left out, so that a change of the report does not train again.
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
"""Libraries whose version may change a step's result."""

DATA = (".csv", ".j2")
"""Suffixes of data files. They count as code of the package in whose folder they are."""


def code_version(*steps: str) -> str:
    """A digest of the code and data files of the given steps, and of the versions of `LIBRARIES`; 16 hex digits.

    Raises:
        ValueError: there is no such step.
    """
    digest = hashlib.sha256()
    for library in LIBRARIES:
        digest.update(f"{library}=={metadata.version(library)}\n".encode())
    for file in sorted(code_of(*steps)):
        digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def code_of(*steps: str) -> set[Path]:
    """The files with the code of the given steps, and their data files.

    Raises:
        ValueError: there is no such step.
    """
    waiting = [f"{PACKAGE}.{step}.step" for step in steps]
    if missing := [module for module in waiting if _file(module) is None]:
        raise ValueError(f"{', '.join(missing)} is no module; expected the names of folders that have a step.py")
    files: set[Path] = set()
    while waiting:
        module = waiting.pop()
        file = _file(module)
        if file is None or file in files:
            continue
        files.add(file)
        if file.name == "__init__.py":
            files.update(path for path in file.parent.iterdir() if path.suffix in DATA)
        if module != PACKAGE:
            waiting.append(module.rpartition(".")[0])  # Python imports it first
        waiting += _module_names(file.read_bytes())
    return files


def _file(module: str) -> Path | None:
    """The file of a module of the components; None when there is no such module."""
    path = ROOT.joinpath(*module.removeprefix(PACKAGE).strip(".").split("."))
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


@cache
def _module_names(source: bytes) -> tuple[str, ...]:
    """Names in a module's source that may be modules of the components: in imports at any level, and in strings.

    A string with such a name is the program of a child process, or the package of a data file.
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
