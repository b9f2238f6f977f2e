"""The two documents against the schemas of the backend 2.17.0, with no field that it does not know.

The API server parses both strictly (`NewV2SpecTemplate` in apiserver/template/v2_template.go), and the compiler each
executor's entry of the platform spec (`containerExecutorTask` in argocompiler/container.go): an unknown field is
refused. So what kfp-kubernetes writes couples the YAML to the version of the backend.
"""

from collections.abc import Iterator

from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.pipelines.kubeflow.assumptions import Assumptions
from tests.pipelines.kubeflow.compiled import JSON, Compiled, Fault
from tests.pipelines.kubeflow.go_json import go_json

SINCE = {
    "securityContext": "2.16",
    "secretAsEnv.optional": "2.15",
    "configMapAsEnv.optional": "2.15",
    "pvcMount.subPath": "2.16",
}
"""Fields of the platform spec that younger backends only know, with the first release (the others are in 2.14)."""
SCHEMA = "2.1.0"


def _parse(rule: str, where: str, document: JSON, message: object) -> Iterator[Fault]:
    try:
        json_format.ParseDict(document, message, ignore_unknown_fields=False)
    except json_format.ParseError as error:
        yield Fault(rule, where, str(error).replace("\n", " "))


def documents(compiled: Compiled, _: Assumptions) -> Iterator[Fault]:
    """Both documents have known fields only, and values of their types."""
    yield from _parse("pipeline-spec", "pipeline spec", compiled.spec, pipeline_spec_pb2.PipelineSpec())
    deployment = compiled.spec.get("deploymentSpec", {})
    yield from _parse("pipeline-spec", "deploymentSpec", deployment, pipeline_spec_pb2.PipelineDeploymentConfig())
    if compiled.spec.get("schemaVersion") != SCHEMA:
        yield Fault("pipeline-spec", "schemaVersion", f"{compiled.spec.get('schemaVersion')} is not {SCHEMA}")
    if compiled.platform:
        yield from _parse("platform-spec", "platform spec", compiled.platform, pipeline_spec_pb2.PlatformSpec())
    for label, entry in compiled.kubernetes.items():
        message = kubernetes_executor_config_pb2.KubernetesExecutorConfig()
        yield from _parse("platform-spec", label, entry, message)
        if label not in compiled.executors:
            yield Fault("platform-spec", label, "there is no such executor")


def references(compiled: Compiled, _: Assumptions) -> Iterator[Fault]:
    """What tasks and components name is there, and every step has a container."""
    for name in compiled.reachable():
        component = compiled.components[name]
        label = component.get("executorLabel")
        if label is not None and "container" not in compiled.executors.get(label, {}):
            yield Fault("pipeline-spec", name, f"the executor {label} has no container")
        if label is None and not component.get("dag", {}).get("tasks"):
            yield Fault("pipeline-spec", name, "it is neither a step nor a DAG with tasks")


def shared_containers(compiled: Compiled, _: Assumptions) -> Iterator[Fault]:
    """Steps with the same container have the same inputs and outputs.

    The Workflow holds components under a hash of their containers, and the first one wins (`hashComponentContainer` and
    `saveProtoToArguments` in argocompiler/argo.go).
    """
    first: dict[str, str] = {}
    for name in sorted(compiled.reachable()):
        component = compiled.components[name]
        if "executorLabel" not in component:
            continue
        other = first.setdefault(go_json(compiled.container(component)), name)
        sides = ("inputDefinitions", "outputDefinitions")
        if any(compiled.components[other].get(side) != component.get(side) for side in sides):
            yield Fault("shared-container", name, f"{other} has the same container, and would stand for it")


def needs_version(compiled: Compiled) -> dict[str, str]:
    """Fields of the platform spec that a backend older than the value refuses."""
    found: dict[str, str] = {}
    for entry in compiled.kubernetes.values():
        for path, version in SINCE.items():
            name, _, inner = path.partition(".")
            values = entry.get(name, [])
            if name in entry and (not inner or any(inner in value for value in values)):
                found[path] = version
    return found
