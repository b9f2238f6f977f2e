"""What docker/strip.sh leaves of the packages in the image: both kinds of builds of PyTorch."""

import shutil
import subprocess
from pathlib import Path

import pytest

STRIP = Path(__file__).parents[2] / "docker" / "strip.sh"

PACKAGES = {
    "KEPT": [
        "pandas/core/frame.py",
        "sklearn/svm/_base.py",
        "matplotlib/testing/__init__.py",
        "sympy/core/basic.py",
        "networkx/utils/misc.py",
        "joblib/parallel.py",
        "psutil/__init__.py",
        "scipy/stats/_stats.py",
        "onnx/backend/base.py",
        "pyarrow/libarrow.so.2500",
        "pyarrow/lib.cpython-311-x86_64-linux-gnu.so",
        "pyarrow/flight.py",
        "botocore/data/endpoints.json",
        "botocore/data/s3/2006-03-01/service-2.json.gz",
        "botocore/data/sts/2011-06-15/service-2.json.gz",
        "botocore/data/kms/2014-11-01/service-2.json.gz",
        "botocore/data/sso/2019-06-10/service-2.json.gz",
        "botocore/data/sso-oidc/2019-06-10/service-2.json.gz",
    ],
    "REMOVED": [
        "pandas/tests/frame/test_api.py",
        "sklearn/svm/tests/test_svm.py",
        "scipy/stats/tests/data/numbers.npz",
        "matplotlib/tests/test_axes.py",
        "psutil/tests/test_linux.py",
        "onnx/backend/test/data/node/test_abs/model.onnx",
        "pyarrow/include/arrow/api.h",
        "pyarrow/libarrow_flight.so.2500",
        "pyarrow/libarrow_python_flight.so",
        "pyarrow/_flight.cpython-311-x86_64-linux-gnu.so",
        "botocore/data/ec2/2016-11-15/service-2.json.gz",
        "botocore/data/s3control/2018-08-20/service-2.json.gz",
    ],
}
TORCH = {
    "KEPT": [
        "torch/lib/libtorch_cpu.so",
        "torch/lib/libshm/libshm.h",
        "torch/bin/torch_shm_manager",
        "torch/testing/_internal/common_utils.py",
        "torch/fx/passes/tests/test_pass_manager.py",
        "torch/csrc/inductor/aoti_runtime/model.h",
    ],
    "REMOVED": [
        "torch/include/ATen/core/boxing/impl/test_helpers.h",
        "torch/include/torch/csrc/api/include/torch/all.h",
        "torch/bin/protoc-3.13.0.0",
    ],
}
TESTS_OF_TORCH = [
    "torch/test/CppSignature_test",
    "torch/bin/test_api",
    "torch/bin/HashStoreTest",
    "torch/bin/upgrader_models/test_versioned_div_tensor_v2.ptl",
]
"""Names from the wheels of 2.13.0: download.pytorch.org's for CPUs brings these, PyPI's, for CUDA, does not."""
BUILDS = {
    "cpu": {"KEPT": TORCH["KEPT"], "REMOVED": TORCH["REMOVED"] + TESTS_OF_TORCH},
    "cuda": {"KEPT": [*TORCH["KEPT"], "torch/lib/libtorch_cuda.so"], "REMOVED": TORCH["REMOVED"]},
}


def installed(folder: Path, *builds: dict[str, list[str]]) -> Path:
    """A folder of installed packages with these files."""
    for build in builds:
        for name in build["KEPT"] + build["REMOVED"]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
    return folder


def strip(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(STRIP), str(folder)], text=True, capture_output=True)


@pytest.mark.parametrize("build", BUILDS)
def test_what_no_program_loads_goes_from_every_build_of_pytorch(build: str, tmp_path: Path) -> None:
    done = strip(installed(tmp_path, PACKAGES, BUILDS[build]))
    assert done.returncode == 0, done.stderr
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*PACKAGES["KEPT"], *BUILDS[build]["KEPT"]}


@pytest.mark.parametrize("package", ["torch", "onnx", "pandas", "botocore/data/kms"])
def test_a_package_that_is_not_there_under_its_name_ends_the_build(package: str, tmp_path: Path) -> None:
    shutil.rmtree(installed(tmp_path, PACKAGES, BUILDS["cpu"]) / package)
    done = strip(tmp_path)
    assert done.returncode == 1
    assert package.rpartition("/")[2] in done.stderr


def test_test_programs_in_another_place_end_the_build(tmp_path: Path) -> None:
    moved = {"KEPT": ["torch/share/programs/TCPStoreTest"], "REMOVED": []}
    done = strip(installed(tmp_path, PACKAGES, BUILDS["cuda"], moved))
    assert done.returncode == 1
    assert "torch/share/programs/TCPStoreTest" in done.stderr


def test_headers_in_another_place_end_the_build(tmp_path: Path) -> None:
    moved = {"KEPT": [f"torch/headers/{number}.h" for number in range(200)], "REMOVED": []}
    done = strip(installed(tmp_path, PACKAGES, BUILDS["cpu"], moved))
    assert done.returncode == 1
    assert "the headers of torch" in done.stderr
