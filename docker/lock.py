"""Write the lock files: every package of pyproject.toml in one version, with the digests of all files of that release.

    make lock                     after a change of pyproject.toml; versions that still fit stay
    make lock ARGS=--upgrade      all to the newest that fit

requirements.lock            steps, trainers and MLflow, with PyTorch for CPUs
requirements-cuda.lock       what PyTorch's CUDA build needs besides
requirements-serving.lock    model servers: a part of the first, see `tool.slipway.serving` in pyproject.toml

uv resolves, and takes the digests from the package index. Whatever another index, or anybody on the way, puts in a
file's place is refused by `pip install --require-hashes`.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
ALL, CUDA, SERVING = (ROOT / f"requirements{part}.lock" for part in ("", "-cuda", "-serving"))
PLATFORM = ("--python-version=3.11", "--python-platform=x86_64-manylinux_2_31")
"""Of the images. Others get the same packages, since the digests are of all platforms' files."""
OF_CUDA = re.compile("nvidia-|cuda-|triton=")
TORCH = "torch==2.13.0"
TORCH_FOR_CPUS = (
    "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",  # x86_64
    "84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7",  # aarch64
)
"""The CPU builds of `TORCH` for Python 3.11 (+cpu) lie in PyTorch's own index, whose page names their digests."""


def blocks(text: str) -> list[str]:
    """The packages of a lock file: each a line `name==version` and its digests."""
    return re.findall(r"^\S+==.*(?:\n    .*)*", text, re.MULTILINE)


def resolved(requirements: Iterable[str], *options: str, keep: Iterable[str] = ()) -> list[str]:
    """What a clean installation of requirements takes, sorted by name.

    Args:
        options: of `uv pip compile`.
        keep: blocks of a lock file whose versions stay where they fit.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted, lock = Path(folder, "requirements.in"), Path(folder, "requirements.txt")
        wanted.write_text("\n".join(requirements), "utf-8")
        lock.write_text("\n".join(keep), "utf-8")
        how = ("--quiet", "--no-config", "--generate-hashes", "--no-annotate", "--no-header", "--output-file")
        subprocess.run(["uv", "pip", "compile", *PLATFORM, *options, *how, lock, wanted], check=True)
        return sorted(blocks(lock.read_text("utf-8")))


def with_cpu_builds(package: str) -> str:
    """The block of a package; that of PyTorch with the digests of its CPU builds."""
    if not package.startswith(f"{TORCH} "):
        return package
    digests = sorted({*re.findall(r"sha256:(\w+)", package), *TORCH_FOR_CPUS})
    return TORCH + "".join(f" \\\n    --hash=sha256:{digest}" for digest in digests)


def write(lock: Path, title: str, packages: Iterable[str]) -> None:
    """Write a lock file."""
    lock.write_text(f"# {title} Written by docker/lock.py; do not edit.\n" + "\n".join(packages) + "\n", "utf-8")


def main(given: list[str]) -> None:
    """Write all lock files."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    dependencies: list[str] = pyproject["project"]["dependencies"]
    if TORCH not in dependencies:
        sys.exit(f"docker/lock.py has the digests of {TORCH} for CPUs; put in those of the version in pyproject.toml")
    old = [] if "--upgrade" in given else blocks(ALL.read_text("utf-8")) + blocks(CUDA.read_text("utf-8"))
    packages = resolved(dependencies, keep=old)
    cuda = [package for package in packages if OF_CUDA.match(package)]
    others = [with_cpu_builds(package) for package in packages if package not in cuda]
    write(ALL, "What steps, trainers and MLflow run with.", others)
    write(CUDA, "What PyTorch's CUDA build needs besides requirements.lock.", cuda)

    serving = pyproject["tool"]["slipway"]["serving"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as unused:
        unused.write("\n".join(serving["unused"]))
        unused.flush()
        part = resolved(serving["packages"], f"--constraints={ALL}", f"--excludes={unused.name}")
    write(SERVING, "What model servers run with, a part of requirements.lock.", part)


if __name__ == "__main__":
    main(sys.argv[1:])
