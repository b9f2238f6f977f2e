"""The version of the code that a step runs, so that a cache knows when a step must run again."""

import hashlib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
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

SUFFIXES = (".py", ".csv", ".j2")
SHARED = (".", "artifacts", "clients", "explanation", "kubeflow", "learning", "machine", "platforms", "step_runtime")


def code_version(*packages: str) -> str:
    """A short digest of the modules that all steps share, of the given step packages with their data, and of
    `LIBRARIES`.
    """
    whole = hashlib.sha256()
    for library in LIBRARIES:
        whole.update(f"{library}=={metadata.version(library)}\n".encode())
    modules = sorted(path for room in SHARED for path in (ROOT / room).glob("*.py"))
    for package in sorted(packages):
        modules += sorted(path for path in (ROOT / package).rglob("*") if path.suffix in SUFFIXES)
    for module in modules:
        whole.update(str(module.relative_to(ROOT)).encode() + b"\0" + module.read_bytes())
    return whole.hexdigest()[:16]
