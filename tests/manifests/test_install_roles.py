"""The keys of the store and the logins of MLflow that manifests/install.sh makes for each role."""

import subprocess
from pathlib import Path

INSTALL = Path(__file__).parents[2] / "manifests" / "install.sh"

KEEPER = """#!/usr/bin/env bash
# keeps Secrets as files, and knows no other object
case "$1 $2" in
'get secret')
    [[ -f $KEPT/$3 ]] || exit 1
    key=$(sed -n 's/.*jsonpath={\\.data\\.\\(.*\\)}.*/\\1/p' <<<"$*")
    [[ -z $key ]] || sed -n "s/^$key=//p" "$KEPT/$3" | tail -n1 | tr -d '\\n' | base64 -w0
    ;;
'create secret') [[ $* == *--dry-run* ]] && cat >/dev/null || cat >"$KEPT/$4" ;;
'patch secret') python3 -c 'import json, sys
print(*(f"{key}={value}" for key, value in json.load(sys.stdin)["stringData"].items()), sep="\\n")' >>"$KEPT/$3" ;;
'annotate secret') echo "${@:4}" >>"$KEPT/annotations-of-$3" ;;
'create configmap') [[ $3 != slipway-ca ]] || echo "${@:4}" >"$KEPT/$3" ;;
get*) exit 1 ;;
*) ;;
esac
"""


def kept(tmp_path: Path, **given: str) -> tuple[dict[str, dict[str, str]], str]:
    """The Secrets of the store that `install.sh secrets` leaves, and what it says."""
    folder = tmp_path / "kept"
    folder.mkdir(exist_ok=True)
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KEEPER)
    kubectl.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "KEPT": str(folder), "HOME": str(tmp_path)} | given
    done = subprocess.run([str(INSTALL), "secrets"], text=True, capture_output=True, check=True, env=environment)
    found = {}
    for path in (*folder.glob("slipway-s3*"), *folder.glob("slipway-mlflow")):
        lines = [line for line in path.read_text("utf-8").splitlines() if line]
        found[path.name] = dict(line.split("=", 1) for line in lines)
    return found, done.stdout + done.stderr


def test_each_role_has_a_key_of_its_own_for_the_store_of_the_manifests(tmp_path: Path) -> None:
    made, said = kept(tmp_path)
    del made["slipway-mlflow"]
    assert set(made) == {"slipway-s3", "slipway-s3-root", "slipway-s3-trainers", "slipway-s3-servers"}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert len({secret[name] for secret in made.values()}) == 4
    (endpoint,) = {secret["AWS_ENDPOINT_URL_S3"] for secret in made.values()}
    assert endpoint == "http://s3.slipway.svc.cluster.local:9000"
    assert not [secret for secret in made.values() if secret["AWS_SECRET_ACCESS_KEY"] in said]
    assert made.items() <= kept(tmp_path)[0].items()


def test_steps_and_trainers_have_a_login_of_their_own_for_mlflow_and_model_servers_none(tmp_path: Path) -> None:
    made, said = kept(tmp_path)
    names = {name: secret.get("MLFLOW_TRACKING_USERNAME") for name, secret in made.items()}
    assert names == {
        "slipway-s3": "slipway-steps",
        "slipway-s3-trainers": "slipway-trainers",
        "slipway-s3-servers": None,
        "slipway-s3-root": None,
        "slipway-mlflow": None,
    }
    passwords = [made[name]["MLFLOW_TRACKING_PASSWORD"] for name in ("slipway-s3", "slipway-s3-trainers")]
    passwords += made["slipway-mlflow"].values()
    assert len(set(passwords)) == len(passwords) == 4
    assert not [password for password in passwords if password in said]
    assert kept(tmp_path)[0] == made


def test_a_login_for_an_mlflow_elsewhere_stays_and_is_the_trainers_too(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    before = "AWS_ACCESS_KEY_ID=slipway\nAWS_SECRET_ACCESS_KEY=of-old\n"
    login = {"MLFLOW_TRACKING_USERNAME": "team", "MLFLOW_TRACKING_PASSWORD": "of-the-team"}
    (tmp_path / "kept" / "slipway-s3").write_text(before + "".join(f"{key}={value}\n" for key, value in login.items()))
    made, _ = kept(tmp_path)
    assert login.items() <= made["slipway-s3"].items()
    assert login.items() <= made["slipway-s3-trainers"].items()


def test_a_key_from_before_there_were_roles_becomes_the_steps_and_nobody_else_has_it(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    before = "AWS_ACCESS_KEY_ID=slipway\nAWS_SECRET_ACCESS_KEY=of-old\n"
    endpoint = "AWS_ENDPOINT_URL_S3=http://s3.slipway.svc.cluster.local:9000\n"
    (tmp_path / "kept" / "slipway-s3").write_text(before + endpoint)
    made, _ = kept(tmp_path)
    assert [name for name, secret in made.items() if secret.get("AWS_SECRET_ACCESS_KEY") == "of-old"] == ["slipway-s3"]
    assert "slipway-s3-root" in made


def test_a_store_elsewhere_has_users_of_its_own_and_a_shared_key_is_told(tmp_path: Path) -> None:
    elsewhere = {"AWS_ENDPOINT_URL_S3": "https://s3.eu-central-1.amazonaws.com", "AWS_DEFAULT_REGION": "eu-central-1"}
    steps = {"AWS_ACCESS_KEY_ID": "AKIASTEPS", "AWS_SECRET_ACCESS_KEY": "of-steps"}
    trainers = {"SLIPWAY_TRAINERS_ACCESS_KEY_ID": "AKIATRAINERS", "SLIPWAY_TRAINERS_SECRET_ACCESS_KEY": "of-trainers"}
    made, said = kept(tmp_path, **elsewhere, **steps, **trainers)
    del made["slipway-mlflow"]
    names = {name: secret["AWS_ACCESS_KEY_ID"] for name, secret in made.items()}
    assert names == {
        "slipway-s3": "AKIASTEPS",
        "slipway-s3-trainers": "AKIATRAINERS",
        "slipway-s3-servers": "AKIASTEPS",
    }
    assert all(elsewhere.items() <= secret.items() for secret in made.values())
    assert "the servers get the key of the steps" in said
    assert "the trainers get" not in said
    assert "of-steps" not in said


AUTHORITY = "the-certificate-of-the-authority"


def test_with_certificates_for_the_servers_inside_pods_ask_with_tls_and_know_whom_to_trust(tmp_path: Path) -> None:
    before, _ = kept(tmp_path)
    (tmp_path / "kept" / "slipway-s3-tls").write_text(f"ca.crt={AUTHORITY}\n")
    for _ in range(2):
        made, said = kept(tmp_path)
    assert "ConfigMap slipway/slipway-ca" in said
    address = "https://s3.slipway.svc.cluster.local:9000"
    trusting = {"SLIPWAY_CA": AUTHORITY, "AWS_ENDPOINT_URL_S3": address}
    del made["slipway-s3-tls"]
    pods = {"slipway-s3", "slipway-s3-trainers", "slipway-s3-servers"}
    assert made == {name: secret | (trusting if name in pods else {}) for name, secret in before.items()}
    told = (tmp_path / "kept" / "slipway-ca").read_text()
    assert f"cabundle.crt={AUTHORITY}" in told  # where KServe looks
    assert f"--from-literal=ca.crt={AUTHORITY}" in told  # where gateways look
    last = (tmp_path / "kept" / "annotations-of-slipway-s3-servers").read_text().splitlines()[-1]
    assert "serving.kserve.io/s3-usehttps=1 serving.kserve.io/s3-cabundle-configmap=slipway-ca" in last


def test_without_such_certificates_nothing_of_it_is_there(tmp_path: Path) -> None:
    made, said = kept(tmp_path)
    assert "slipway-ca" not in said
    assert not [secret for secret in made.values() if "SLIPWAY_CA" in secret]
    assert not (tmp_path / "kept" / "slipway-ca").exists()


def test_a_store_elsewhere_keeps_its_address_and_kserve_its_authorities(tmp_path: Path) -> None:
    elsewhere = {"AWS_ENDPOINT_URL_S3": "http://minio.example.com:9000"}
    keys = {"AWS_ACCESS_KEY_ID": "AKIASTEPS", "AWS_SECRET_ACCESS_KEY": "of-steps"}
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "slipway-s3-tls").write_text(f"ca.crt={AUTHORITY}\n")
    made, _ = kept(tmp_path, **elsewhere, **keys)
    for name in ("slipway-s3", "slipway-s3-trainers", "slipway-s3-servers"):
        assert elsewhere.items() <= made[name].items()
        assert made[name]["SLIPWAY_CA"] == AUTHORITY  # of MLflow
        assert "cabundle" not in (tmp_path / "kept" / f"annotations-of-{name}").read_text()
