"""What `install.sh secrets` uploads, where, and what it says of it first."""

import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from slipway.components.artifacts import signing

INSTALL = Path(__file__).parents[2] / "manifests" / "install.sh"
KUBECTL = """#!/usr/bin/env bash
case "$*" in
"config "*) echo of-the-tests && exit ;;
"get namespace kubeflow"*) exit "${NO_STEPS:-0}" ;;
"get secret slipway-signing --namespace kubeflow"*) exit "${NO_COPY:-1}" ;;
"get namespace"*) exit 0 ;;
*"--output json") echo '{"metadata": {"name": "copied"}}' && exit ;;
get*) exit 1 ;;
*-f\\ - | */dev/stdin*) cat >/dev/null ;;
esac
printf '%s\\n' "$*" >>"$LOG"
echo "== kubectl $1 $2" >&2
"""


class Done(NamedTuple):
    """What was asked of kubectl, and what was said."""

    commands: list[str]
    said: list[str]
    code: int


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with a signing key pair."""
    folder = tmp_path / "keys"
    signing.key_pair(folder)
    return folder


def secrets(folder: Path, **given: str) -> Done:
    """Run it with a kubectl that writes down."""
    (folder / "kubectl").write_text(KUBECTL)
    (folder / "kubectl").chmod(0o755)
    known = {"LOG": str(folder / "log"), "HOME": str(folder), "SLIPWAY_KEYS": str(folder / "keys")}
    environment = {"PATH": f"{folder}:/usr/bin:/bin"} | known | given
    done = subprocess.run([str(INSTALL), "secrets"], text=True, capture_output=True, env=environment)
    log = folder / "log"
    return Done(log.read_text().splitlines() if log.exists() else [], done.stderr.splitlines(), done.returncode)


def test_what_goes_up_is_told_before_it_does_by_fingerprints_and_without_values(tmp_path: Path, keys: Path) -> None:
    values = {"AWS_ACCESS_KEY_ID": "the-id", "AWS_SECRET_ACCESS_KEY": "the-secret-of-s3", "HF_TOKEN": "hf_the-token"}
    done = secrets(tmp_path, **values)
    assert done.code == 0, done.said
    first = next(number for number, line in enumerate(done.said) if line.startswith("== kubectl"))
    told = "\n".join(done.said[:first])
    for name in ("s3", "signing", "public-key", "api-keys", "client", "audit", "hub"):
        assert f"slipway/slipway-{name}" in told
    assert "of-the-tests" in told
    assert signing.identity(keys / "public.pem") in told
    assert "in namespace kubeflow, where every step can read them" in told
    everything = "\n".join(done.said + done.commands)
    assert "the-secret-of-s3" not in everything
    assert "hf_the-token" not in everything
    assert (keys / "private.pem").read_text().splitlines()[1] not in everything


def test_the_private_key_goes_to_no_namespace_of_steps_and_an_old_copy_goes(tmp_path: Path, keys: Path) -> None:
    done = secrets(tmp_path, NO_COPY="0")
    assert keys.exists()
    uploads = [line for line in done.commands if "slipway-signing" in line]
    made, removed = uploads
    assert made.startswith("create secret generic slipway-signing --namespace slipway ")
    assert removed == "delete secret slipway-signing --namespace kubeflow"
    assert any("an earlier release copied the private key there" in line for line in done.said)


def test_where_a_key_in_kms_signs_its_public_key_goes_up_and_no_private_one(tmp_path: Path, keys: Path) -> None:
    done = secrets(tmp_path, SLIPWAY_SIGNING_KEY="awskms:///alias/slipway")
    assert done.code == 0, done.said
    assert not [line for line in done.commands if "slipway-signing" in line]
    assert [line for line in done.commands if line.startswith("create configmap slipway-public-key")]
    assert any("slipway-signing: awskms:///alias/slipway signs" in line for line in done.said)
    (keys / "private.pem").unlink()
    assert secrets(tmp_path, SLIPWAY_SIGNING_KEY="awskms:///alias/slipway").code == 0
    (keys / "public.pem").unlink()
    done = secrets(tmp_path, SLIPWAY_SIGNING_KEY="awskms:///alias/slipway")
    assert done.code != 0
    assert any("slipway public-key --set registry.signing_key=" in line for line in done.said)


def test_where_nothing_signs_the_private_key_stays_here(tmp_path: Path, keys: Path) -> None:
    done = secrets(tmp_path, NO_STEPS="1")
    assert keys.exists()
    assert [line for line in done.commands if "slipway-signing" in line or "private.pem" in line] == []
    assert any("nothing signs in this cluster" in line for line in done.said)
    assert any("configmap slipway-public-key" in line for line in done.commands)


def test_all_public_keys_and_the_refused_digests_go_to_the_model_servers(tmp_path: Path, keys: Path) -> None:
    former = signing.key_pair(tmp_path / "former").public_key
    (keys / "former.pem").write_bytes(former.read_bytes())
    (keys / "refused-digests.txt").write_text(f"sha256:{'a' * 64}\n")
    done = secrets(tmp_path)
    (made,) = [line for line in done.commands if "create configmap slipway-public-key" in line]
    sources = [word.rpartition("/")[2] for word in made.split() if word.startswith("--from-file")]
    assert sources == ["public.pem", "former.pem", "refused-digests.txt"]
    assert any(signing.identity(former) in line for line in done.said)


def test_a_private_key_beside_the_public_ones_ends_it(tmp_path: Path, keys: Path) -> None:
    (keys / "old-private.pem").write_bytes((keys / "private.pem").read_bytes())
    done = secrets(tmp_path)
    assert done.code != 0
    assert done.commands == []
    assert any("old-private.pem holds a private key" in line for line in done.said)
