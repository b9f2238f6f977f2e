#!/bin/sh
# Remove what no program of ours loads from a folder of installed packages: test suites, C++ headers, PyTorch's test
# programs, Arrow's network protocol, the descriptions of all AWS services but S3, KMS and those that log in.
#
#   docker/strip.sh /opt/slipway/lib/python3.11/site-packages [PACKAGE...]
#
# PACKAGE: those of the packages below that are installed, when it is not all of them.
# The builds of a package differ: PyTorch's for CPUs brings its test programs, PyPI's does not. So the paths need not be there; the
# packages must be, and at the end nothing of it may be left, under its own name or under a new one of its kind.
set -eu
cd "${1:?give the folder of the installed packages}"
shift

with_tests='pandas scipy sklearn pyarrow matplotlib sympy networkx joblib psutil'
packages=${*:-$with_tests torch onnx botocore}
services='s3 sts kms sso sso-oidc'

fail() {
    echo "docker/strip.sh: $*" >&2
    exit 1
}

# `find` in the packages that are there.
search() {
    package=$1
    shift
    [ ! -d "$package" ] || find "$package" "$@"
}

# The paths to remove, a line each; nothing for what is not there.
unused() {
    for name in $with_tests; do
        search "$name" -type d -name tests -prune
    done
    search torch -mindepth 1 -maxdepth 1 -type d \( -name include -o -name test \)
    search torch -path 'torch/bin/*' -type f ! -name torch_shm_manager
    search onnx -type d -path onnx/backend/test
    search pyarrow -maxdepth 1 \( -name include -o -name 'libarrow_flight*' -o -name 'libarrow_python_flight*' -o -name '_flight*.so' \)
    for service in botocore/data/*/; do
        case " $services " in
        *" $(basename "$service") "*) ;;
        *) echo "${service%/}" ;;
        esac
    done
}

# What is of the same kinds and lies elsewhere, as it may in another build: test programs, and headers by the hundred.
strange() {
    search torch -type f \( -name '*[_-]test' -o -name 'test_*' ! -name '*.py' ! -name '*.pyi' ! -name '*.pyc' -o -name '*Test' \)
    for name in torch pyarrow; do
        [ "$(search "$name" -name '*.h' | wc -l)" -lt 100 ] || echo "the headers of $name"
    done
}

for package in $packages; do
    [ -d "$package" ] || fail "$PWD has no package $package; install it, or take it out of this list"
done
for service in $services; do
    [ -d "botocore/data/$service" ] || fail "botocore describes no service $service; see what it is called now"
done
before=$(du -sk . | cut -f1)
paths=$(unused) # all of them first: a search fails where a folder goes while it looks
[ -z "$paths" ] || echo "$paths" | while read -r path; do
    rm -r "$path"
done
left=$(unused; strange)
[ -z "$left" ] || fail "these are still there; see where this build keeps them: $(echo "$left" | head -20 | tr '\n' ' ')"
echo "docker/strip.sh: $(((before - $(du -sk . | cut -f1)) / 1024)) MiB removed"
