"""The rights of the pipeline's account: what the code asks for is in the tables, and those are in the Role."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from slipway.pipelines.cluster_preflight import FURTHER_RIGHTS, RIGHTS, SIGNING_RIGHTS, TLS_RIGHTS, Right

ROOT = Path(__file__).parents[2]
CALL = re.compile(r"\.((?:create|delete|list|patch|read|replace)_namespaced_\w+)\b")
VERBS = {"create": "create", "delete": "delete", "list": "list", "patch": "patch", "read": "get", "replace": "update"}
UNREADABLE = {"read_namespaced_secret", "list_namespaced_event"}
"""Calls that may be refused: the preflight takes a Secret that it may not see to be there, and the diagnosis of a pod
that misses one is less exact without events.
"""
OF_CUSTOM_OBJECTS = re.compile(r"\w+_namespaced_custom_object")
ELSEWHERE = {
    ("components/rollout/kserve/api.py", "read_namespaced_config_map"),
    ("components/rollout/kserve/gateway.py", "list_namespaced_service"),
}
"""Calls about other namespaces, see manifests/base/gateway-rights.yaml: KServe's configuration, and its gateway."""


def calls() -> Iterator[tuple[str, str]]:
    """File and method of every call of the Kubernetes client on an object of a known kind."""
    for folder in ("components", "pipelines"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for method in CALL.findall(path.read_text("utf-8")):
                if not OF_CUSTOM_OBJECTS.fullmatch(method) and method not in UNREADABLE:
                    yield path.relative_to(ROOT).as_posix(), method


def asked(method: str) -> tuple[str, str]:
    """Verb and resource, with subresource, of a method of the client."""
    api = next(api for api in (client.CoreV1Api, client.CoordinationV1Api, client.BatchV1Api) if hasattr(api, method))
    code = inspect.getsource(getattr(api, f"{method}_with_http_info"))
    found = re.search(r"/namespaces/\{namespace\}/(\w+)(?:/\{name\}(?:/(\w+))?)?'", code)
    assert found
    return VERBS[method.partition("_")[0]], "/".join(filter(None, found.groups()))


def test_every_call_of_the_kubernetes_api_is_in_the_tables() -> None:
    known = {(right.verb, "/".join(filter(None, (right.resource, right.subresource)))) for right in TABLE}
    found = {(file, method) for file, method in calls()} - ELSEWHERE
    assert len(found) >= 8
    assert [call for call in sorted(found) if asked(call[1]) not in known] == []


TABLE = (*RIGHTS, *FURTHER_RIGHTS, *SIGNING_RIGHTS, *TLS_RIGHTS)


def objects() -> dict[str, Any]:
    """The Role and its binding, by kind."""
    return {item["kind"]: item for item in yaml.safe_load_all((ROOT / "manifests/base/rbac.yaml").read_text("utf-8"))}


@pytest.mark.parametrize("right", TABLE, ids=str)
def test_the_role_gives_every_right_of_the_tables(right: Right) -> None:
    resource = "/".join(filter(None, (right.resource, right.subresource)))
    assert any(
        right.group in rule["apiGroups"]
        and resource in rule["resources"]
        and right.verb in rule["verbs"]
        and right.name in rule.get("resourceNames", [right.name])
        for rule in objects()["Role"]["rules"]
    )


def test_the_steps_of_kubeflow_pipelines_have_the_role_in_every_overlay() -> None:
    subjects = objects()["RoleBinding"]["subjects"]
    assert [(subject["name"], subject.get("namespace")) for subject in subjects] == [
        ("slipway-pipeline", None),
        ("pipeline-runner", "kubeflow"),
    ]
