"""Files of releases are applied only when they are those that were pinned."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.manifests.releases import Releases

INSTALL = Path(__file__).parents[2] / "manifests" / "install.sh"
KUBECTL = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$LOG"
case "$*" in *'-f '*) cat "${@: -1}" >>"$LOG" ;; esac
"""


def install(releases: Releases, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    """Run it with a kubectl that writes down what it is asked and what it is to apply."""
    folder = releases.sums.parent
    (folder / "kubectl").write_text(KUBECTL)
    (folder / "kubectl").chmod(0o755)
    environment = releases.environment | {"PATH": f"{folder}:/usr/bin:/bin", "LOG": str(folder / "log")} | given
    return subprocess.run([str(INSTALL), *arguments], text=True, capture_output=True, env=environment)


def applied(releases: Releases) -> str:
    """What kubectl was asked to do."""
    log = releases.sums.parent / "log"
    return log.read_text() if log.exists() else ""


def test_pinning_writes_the_sum_of_every_release_once_and_applies_nothing(releases: Releases) -> None:
    done = install(releases, "--pin")
    assert done.returncode == 0, done.stderr
    lines = [line.split("  ") for line in releases.sums.read_text().splitlines()]
    sums = {address: found for found, address in lines}
    assert len(sums) == 9
    for address, found in sums.items():
        path = address.removeprefix("https://github.com")
        assert found == hashlib.sha256(f"# {path}\n".encode()).hexdigest()
    assert applied(releases) == ""
    assert install(releases, "--pin").returncode == 0
    assert len(releases.sums.read_text().splitlines()) == 9


def test_a_pinned_file_is_applied_and_an_exchanged_one_is_not(releases: Releases) -> None:
    install(releases, "--pin")
    done = install(releases, "certificates")
    assert done.returncode == 0, done.stderr
    assert "cert-manager.yaml\n# /cert-manager" in applied(releases)
    assert "NOT CHECKED" not in done.stderr

    (releases.sums.parent / "log").unlink()
    releases.changed["cert-manager.yaml"] = b"kind: ClusterRoleBinding\n"
    done = install(releases, "certificates")
    assert done.returncode != 0
    assert applied(releases) == ""
    expected = hashlib.sha256(b"# /cert-manager/cert-manager/releases/download/v1.21.1/cert-manager.yaml\n").hexdigest()
    found = hashlib.sha256(b"kind: ClusterRoleBinding\n").hexdigest()
    (told,) = [line for line in done.stderr.splitlines() if "not the file" in line]
    address = "https://github.com/cert-manager/cert-manager/releases/download/v1.21.1/cert-manager.yaml"
    assert all(words in told for words in (address, f"expected sha256 {expected}", f"found {found}"))


@pytest.mark.parametrize("name", ["serving-core.yaml", "kserve-crds.yaml", "kserve.yaml"])
def test_an_exchanged_file_of_the_serving_part_ends_it(releases: Releases, name: str) -> None:
    install(releases, "--pin")
    releases.changed[name] = b"kind: ClusterRoleBinding\n"
    done = install(releases, "serving")
    assert done.returncode != 0
    assert "ClusterRoleBinding" not in applied(releases)
    assert done.stderr.count("is not the file that was pinned") == 1


def test_a_file_without_a_sum_is_told_loudly_or_refused(releases: Releases) -> None:
    done = install(releases, "certificates")
    assert done.returncode == 0
    assert "NOT CHECKED: https://github.com/cert-manager" in done.stderr
    assert "install.sh --pin" in done.stderr
    (releases.sums.parent / "log").unlink()
    assert install(releases, "certificates", SLIPWAY_REQUIRE_SUMS="1").returncode != 0
    assert applied(releases) == ""


def test_a_download_that_fails_applies_nothing(releases: Releases) -> None:
    releases.changed["cert-manager.yaml"] = b""
    done = install(releases, "certificates")
    assert done.returncode != 0
    assert "could not be downloaded" in done.stderr
    assert applied(releases) == ""
