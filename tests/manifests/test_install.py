"""What manifests/install.sh would do to a cluster, told by its dry run."""

import base64
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from slipway.components.artifacts import signing
from tests.manifests.releases import Releases

INSTALL = Path(__file__).parents[2] / "manifests" / "install.sh"
PINNED = re.compile(r"/download/(?:[a-z]+-)?v?\d+\.\d+\.\d+/|\?ref=[0-9a-f]{40}$")
"""A release, whose files have sums, or a commit: a tag can be moved."""


def dry_run(*parts: str, serving: str = "knative", service: str = "") -> list[str]:
    """The kubectl commands, in a home without keys; a command that is not kubectl's would find no kubectl and fail."""
    done = subprocess.run(
        [str(INSTALL), "--dry-run", *parts],
        text=True,
        capture_output=True,
        check=True,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": "/nowhere",
            "SLIPWAY_SERVING": serving,
            "SLIPWAY_GATEWAY_SERVICE": service,
        },
    )
    return [line.replace("\\", "") for line in done.stdout.splitlines()]


def sources(commands: list[str]) -> list[str]:
    """Where the objects come from that the commands apply."""
    found = [re.search(r"(?:https://)?github\.com/\S+", command) for command in commands]
    return [source[0] for source in found if source]


@pytest.mark.parametrize("serving", ["knative", "standard"])
def test_everything_comes_from_a_pinned_release(serving: str) -> None:
    urls = sources(dry_run(serving=serving))
    assert len(urls) >= 7
    assert [url for url in urls if not PINNED.search(url)] == []


def test_all_parts_are_installed_unless_some_are_named() -> None:
    everything = " ".join(sources(dry_run()))
    for part in ("cert-manager", "knative/serving", "net-kourier", "kserve/kserve", "kubeflow/trainer", "pipelines"):
        assert part in everything
    assert [url for url in sources(dry_run("training", "certificates")) if "serving" in url] == []


def test_standard_mode_has_a_gateway_and_a_kserve_that_splits_traffic_in_place_of_knative() -> None:
    commands = dry_run("serving", serving="standard")
    urls = " ".join(sources(commands))
    assert "envoyproxy/gateway" in urls
    assert "knative" not in urls
    assert [(int(a), int(b)) for a, b in re.findall(r"kserve/releases/download/v(\d+)\.(\d+)", urls)] >= [(0, 21)]


def test_what_a_thing_needs_comes_before_it() -> None:
    urls = sources(dry_run())
    order = ["cert-manager", "serving-crds", "serving-core", "kourier", "kserve-crds", "kserve.yaml"]
    places = [next(index for index, url in enumerate(urls) if name in url) for name in order]
    assert places == sorted(places)


def test_no_secret_is_on_a_command_line() -> None:
    commands = [line.split() for line in dry_run("secrets") if "create secret" in line]
    assert {"slipway-s3", "slipway-client", "slipway-api-keys"} <= {command[4] for command in commands}
    for command in commands:
        sources = [word for word in command if word.startswith("--from")]
        assert sources
        assert all(source.startswith(("--from-env-file=/dev/stdin", "--from-file=")) for source in sources), command


FAKE = """#!/usr/bin/env bash
echo "$*" >>"$LOG"
case "$*" in
'get configmap slipway-public-key'*) printf '%s' "$PRESENT" ;;
get*) exit 0 ;;
*) cat >/dev/null ;;
esac
"""


@pytest.mark.parametrize(
    ("present", "replace", "expected"),
    [("", "", True), ("ours", "", True), ("another", "", False), ("another", "1", True)],
)
def test_a_signing_key_of_the_cluster_is_replaced_only_when_asked(
    tmp_path: Path, present: str, replace: str, expected: bool
) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "private.pem").write_text("private")
    (keys / "public.pem").write_text("ours\n")
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(FAKE)
    kubectl.chmod(0o755)
    given = {"LOG": str(tmp_path / "log"), "PRESENT": present, "SLIPWAY_KEYS": str(keys), "HOME": "/nowhere"}
    environment = given | {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLIPWAY_REPLACE_KEYS": replace}
    done = subprocess.run([str(INSTALL), "secrets"], text=True, capture_output=True, env=environment)
    commands = (tmp_path / "log").read_text()
    assert ("create secret generic slipway-signing" in commands) == expected
    assert ("SLIPWAY_REPLACE_KEYS=1" in done.stderr) != expected


def secrets(tmp_path: Path, **given: str) -> tuple[list[str], str]:
    """What `install.sh secrets` asks of a kubectl that writes it down, with standard input, and what it says."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(RECORDER)
    kubectl.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LOG": str(tmp_path / "log"), "HOME": str(tmp_path)}
    done = subprocess.run(
        [str(INSTALL), "secrets"], text=True, capture_output=True, check=True, env=environment | given
    )
    return (tmp_path / "log").read_text().splitlines(), done.stdout + done.stderr


RECORDER = """#!/usr/bin/env bash
case "$*" in
get*slipway-public-key*) exit 1 ;;
*"--output json") echo '{"metadata": {"name": "copied"}}' && exit ;;
get*) exit 0 ;;
esac
given=$(cat)
printf '%s\\n' "$*" >>"$LOG"
case "$*" in *slipway-hub*) printf '%s\\n' "$given" >>"$LOG.hub" ;; esac
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"HF_ENDPOINT": "https://hub.example.com"}, None),
        ({"HF_TOKEN": "hf_of-the-tests"}, "HF_TOKEN=hf_of-the-tests\n"),
        (
            {"HF_TOKEN": "hf_of-the-tests", "HF_ENDPOINT": "https://hub.example.com"},
            "HF_TOKEN=hf_of-the-tests\nHF_ENDPOINT=https://hub.example.com\n",
        ),
    ],
)
def test_the_hub_s_token_goes_to_a_secret_and_nowhere_else(
    tmp_path: Path, given: dict[str, str], expected: str | None
) -> None:
    commands, said = secrets(tmp_path, **given)
    made = tmp_path / "log.hub"
    assert (made.read_text() if made.exists() else None) == expected
    assert "hf_of-the-tests" not in said + "\n".join(commands)
    assert "configmap/slipway-public-key" not in said


def test_a_key_pair_that_is_not_there_is_made_as_a_run_makes_it(tmp_path: Path) -> None:
    commands, said = secrets(tmp_path)
    assert "making a pair" in said
    folder = tmp_path / ".config" / "slipway" / "keys"
    made = (folder / "private.pem").read_text(), (folder / "public.pem").read_text()
    assert (folder / "private.pem").stat().st_mode & 0o777 == 0o600
    pair = signing.key_pair(folder)
    assert isinstance(pair.private_key, Path)
    assert (pair.private_key.read_text(), pair.public_key.read_text()) == made
    for name in ("secret generic slipway-signing", "configmap slipway-public-key"):
        assert any(f"create {name}" in command for command in commands)
    assert "making a pair" not in secrets(tmp_path)[1]
    assert (folder / "private.pem").read_text() == made[0]


def test_a_dry_run_makes_no_key_pair(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    subprocess.run([str(INSTALL), "--dry-run", "secrets"], capture_output=True, check=True, env=environment)
    assert not list(tmp_path.rglob("*.pem"))


TAKING = """#!/usr/bin/env bash
case "$*" in
*'-f -') cat >>"$APPLIED"; echo '---' >>"$APPLIED" ;;
'get configmap'*) echo '{"data": {"deploy": "{}", "ingress": "{}"}}' ;;
*/dev/stdin) cat >/dev/null; echo 'no change' ;;
esac
"""


@pytest.mark.parametrize(("given", "expected"), [("", "NodePort"), ("LoadBalancer", "LoadBalancer")])
def test_the_gateway_has_an_address_without_a_load_balancer_unless_there_is_one(
    tmp_path: Path, releases: Releases, given: str, expected: str
) -> None:
    (tmp_path / "kubectl").write_text(TAKING)
    (tmp_path / "kubectl").chmod(0o755)
    environment = releases.environment | {"PATH": f"{tmp_path}:/usr/bin:/bin", "APPLIED": str(tmp_path / "applied")}
    chosen = {"SLIPWAY_SERVING": "standard", "SLIPWAY_GATEWAY_SERVICE": given}
    subprocess.run([str(INSTALL), "serving"], check=True, capture_output=True, env=environment | chosen)
    objects = [found for found in yaml.safe_load_all((tmp_path / "applied").read_text()) if found]
    (proxy,) = [found for found in objects if found["kind"] == "EnvoyProxy"]
    service = proxy["spec"]["provider"]["kubernetes"]["envoyService"]
    assert service["type"] == expected
    assert service["patch"]["value"]["spec"]["ports"] == [{"port": 80, "nodePort": 31080}]
    (gateway,) = [found for found in objects if found["kind"] == "Gateway"]
    assert gateway["spec"]["infrastructure"]["parametersRef"]["name"] == proxy["metadata"]["name"]


@pytest.mark.parametrize(
    ("parts", "serving", "service"),
    [(["nothing"], "knative", ""), (["serving"], "other", ""), (["serving"], "standard", "other")],
)
def test_an_unknown_part_mode_or_service_is_refused(parts: list[str], serving: str, service: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        dry_run(*parts, serving=serving, service=service)
    assert refused.value.returncode == 2


KEYED = """#!/usr/bin/env bash
case "$*" in
*"secret slipway-api-keys"*json) printf '%s' "$SECRET" && exit ;;
*"--output json") echo '{"metadata": {"name": "copied"}}' && exit ;;
get*slipway-public-key*) exit 1 ;;
get*) exit 0 ;;
esac
given=$(cat)
case "$given" in *api-keys.json*) printf '%s' "$given" >"$LOG" ;; esac
"""


@pytest.mark.parametrize("scopes", [["predict"], ["predict", "rollout"]])
def test_the_rollouts_key_of_before_may_mark_its_questions_and_no_other_may(tmp_path: Path, scopes: list[str]) -> None:
    keys = [{"id": "4f1c", "identity": "rollout", "scopes": scopes}, {"id": "4f1d", "identity": "shop", "scopes": []}]
    data = {"api-keys.json": base64.b64encode(json.dumps({"keys": keys}).encode()).decode()}
    secret = {"metadata": {"name": "slipway-api-keys", "namespace": "slipway", "uid": "1"}, "data": data}
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KEYED)
    kubectl.chmod(0o755)
    log = tmp_path / "log"
    given = {"LOG": str(log), "HOME": str(tmp_path), "SECRET": json.dumps(secret)}
    environment = given | {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run([str(INSTALL), "secrets"], text=True, capture_output=True, check=True, env=environment)
    if "rollout" in scopes:
        assert not log.exists()
        return
    applied = json.loads(log.read_text())
    assert applied["metadata"] == {"name": "slipway-api-keys", "namespace": "slipway"}
    found = json.loads(base64.b64decode(applied["data"]["api-keys.json"]))["keys"]
    assert [key["scopes"] for key in found] == [["predict", "rollout"], []]


def test_the_gateway_s_limits_are_for_the_gateway_that_is_made() -> None:
    made = {item["kind"]: item for item in yaml.safe_load_all((INSTALL.parent / "gateway.yaml").read_text("utf-8"))}
    policy, gateway = made["ClientTrafficPolicy"], made["Gateway"]
    (target,) = policy["spec"]["targetRefs"]
    assert (target["kind"], target["name"]) == ("Gateway", gateway["metadata"]["name"])
    assert policy["metadata"]["namespace"] == gateway["metadata"]["namespace"]


def test_no_gateway_leads_to_the_port_of_the_metrics() -> None:
    runtime = yaml.safe_load((INSTALL.parent / "base/runtime/serving-runtime.yaml").read_text("utf-8"))["spec"]
    port = int(runtime["annotations"]["prometheus.io/port"])
    assert f"--metrics_port={port}" in runtime["containers"][0]["args"]
    assert port not in [named["containerPort"] for named in runtime["containers"][0]["ports"]]
