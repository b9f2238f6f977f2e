"""The lock files, which the images are made of, go with pyproject.toml, and name the digest of every file."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALL, CUDA, SERVING = (ROOT / f"requirements{part}.lock" for part in ("", "-cuda", "-serving"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def canonical(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(lock: Path) -> dict[str, tuple[str, set[str]]]:
    """Version and digests of each package. Every line that is no comment has to be part of one."""
    text = re.sub(r"^#.*\n", "", lock.read_text("utf-8"), flags=re.MULTILINE)
    package = re.compile(r"([a-z0-9-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n")
    assert package.sub("", text) == ""
    found = {
        name: (version, set(re.findall("[0-9a-f]{64}", digests))) for name, version, digests in package.findall(text)
    }
    assert len(found) == len(package.findall(text))
    return found


def test_the_lock_has_every_dependency_in_its_version() -> None:
    dependencies = PYPROJECT["project"]["dependencies"]
    wanted = dict(re.split(r"\[.*\]==|==", dependency, maxsplit=1) for dependency in dependencies)
    found = locked(ALL)
    missing = {name: version for name, version in wanted.items() if found[canonical(name)][0] != version}
    assert missing == {}


def test_what_the_server_builds_on_is_pinned() -> None:
    """It extends uvicorn's protocols, and kserve takes any version of these."""
    pinned = {dependency.partition("==")[0] for dependency in PYPROJECT["project"]["dependencies"]}
    assert {"uvicorn", "starlette", "fastapi", "httptools", "uvloop", "kserve", "grpcio"} <= pinned


def test_model_servers_have_the_same_packages_and_digests() -> None:
    whole, part = locked(ALL), locked(SERVING)
    assert {name: whole[name] for name in part} == part
    serving = PYPROJECT["tool"]["slipway"]["serving"]
    assert {canonical(name) for name in serving["packages"]} <= part.keys()
    assert not part.keys() & set(serving["unused"])


@pytest.mark.parametrize(
    "unwanted",
    ["torch", "kfp", "mlflow", "transformers", "pyarrow", "datasets", "scikit-learn", "huggingface-hub", "onnx"],
)
def test_model_servers_do_without(unwanted: str) -> None:
    assert unwanted in locked(ALL)
    assert unwanted not in locked(SERVING)


def test_pytorch_can_be_taken_from_either_index() -> None:
    """Its CPU builds lie in its own index, and their digests are not in PyPI's; the CUDA build needs libraries."""
    assert len(locked(ALL)["torch"][1]) > 2
    assert {"nvidia-cublas", "triton"} <= locked(CUDA).keys()
    assert not locked(CUDA).keys() & locked(ALL).keys()
