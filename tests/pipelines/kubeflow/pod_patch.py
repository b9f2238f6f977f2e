"""What the driver asks of a step's pod: the `pod-spec-patch`, which holds the command and every argument.

It is what `initPodSpecPatch` and `extendPodSpecPatch` of kubeflow/pipelines 2.17.0 write (backend/src/v2/driver:
driver.go and k8s.go), for the fields that pipelines here use. Its size matters: the Workflow holds it six times a step.
"""

from tests.pipelines.kubeflow.compiled import JSON
from tests.pipelines.kubeflow.go_json import go_json

IDENTIFIER = "d1a065fb-c570-48d3-88b4-c8b6f285768b"
STORE = "minio://mlpipeline/v2/artifacts"
STORE_SESSION = go_json(
    {
        "Provider": "minio",
        "Params": {
            "accessKeyKey": "accesskey",
            "disableSSL": "true",
            "endpoint": "seaweedfs.kubeflow:9000",
            "forcePathStyle": "true",
            "fromEnv": "false",
            "maxRetries": "5",
            "region": "minio",
            "secretKeyKey": "secretkey",
            "secretName": "mlpipeline-minio-artifact",
        },
    }
)
"""What the metadata store keeps beside each artifact, to find it again (config/env.go)."""


def _address(pipeline: str, task: str, name: str) -> str:
    return f"{STORE}/{pipeline}/{IDENTIFIER}/{task}/{IDENTIFIER}/{name}"


def _given(pipeline: str, task: str, name: str, kind: JSON) -> JSON:
    """An artifact that a step gets, as the metadata store has it (metadata/converter.go); its name is a number."""
    return {
        "name": "123",
        "uri": _address(pipeline, task, name),
        "type": {"instanceSchema": f"title: {kind.get('schemaTitle')}\ntype: object\n"},
        "metadata": {"display_name": name, "store_session_info": STORE_SESSION},
    }


def _listed(artifact: JSON) -> JSON:
    return {"artifacts": [artifact]}


def executor_input(pipeline: str, task: str, component: JSON, values: JSON, logs: bool = True) -> JSON:
    """What a step gets: values of parameters, addresses of artifacts, places of outputs.

    Args:
        pipeline: name of the pipeline.
        task: name of the task.
        component: definition of its inputs and outputs.
        values: of its parameters.
        logs: whether the backend keeps logs as an artifact (PUBLISH_LOGS; on in the manifests of 2.17.0).
    """
    inputs = component.get("inputDefinitions", {}).get("artifacts", {})
    outputs = component.get("outputDefinitions", {})
    made = {name: spec["artifactType"] for name, spec in outputs.get("artifacts", {}).items()}
    if logs:
        made["executor-logs"] = {"schemaTitle": "system.Artifact"}
    folder = _address(pipeline, task, "output_metadata.json").replace("://", "/")
    whole: JSON = {
        "inputs": {
            "parameterValues": values,
            "artifacts": {
                name: _listed(_given(pipeline, task, name, spec["artifactType"])) for name, spec in inputs.items()
            },
        },
        "outputs": {
            "parameters": {name: {"outputFile": f"/tmp/kfp/outputs/{name}"} for name in outputs.get("parameters", {})},
            "artifacts": {
                name: _listed({"name": name, "uri": _address(pipeline, task, name), "type": kind})
                for name, kind in made.items()
            },
            "outputFile": f"/{folder}",
        },
    }
    # protojson leaves empty maps out
    return {side: {key: value for key, value in fields.items() if value} for side, fields in whole.items()}


def _environment(container: JSON, kubernetes: JSON) -> list[JSON]:
    variables: list[JSON] = [dict(variable) for variable in container.get("env", [])]
    for source, reference in (("secretAsEnv", "secretKeyRef"), ("configMapAsEnv", "configMapKeyRef")):
        for entry in kubernetes.get(source, []):
            name = entry.get("secretName") or entry.get("configMapName") or ""
            for pair in entry.get("keyToEnv", []):
                key = {"name": name, "key": pair.get("secretKey") or pair.get("configMapKey")}
                if "optional" in entry:
                    key["optional"] = entry["optional"]
                variables.append({"name": pair["envVar"], "valueFrom": {reference: key}})
    for entry in kubernetes.get("fieldPathAsEnv", []):
        variables.append({"name": entry["name"], "valueFrom": {"fieldRef": {"fieldPath": entry["fieldPath"]}}})
    return variables


def _volumes(kubernetes: JSON) -> tuple[list[JSON], list[JSON]]:
    volumes: list[JSON] = []
    mounts: list[JSON] = []
    for source, field, key in (
        ("secretAsVolume", "secret", "secretName"),
        ("configMapAsVolume", "configMap", "configMapName"),
    ):
        for entry in kubernetes.get(source, []):
            name = entry[key]
            reference = {"secretName": name} if field == "secret" else {"name": name}
            volumes.append({"name": name, field: {**reference, "optional": bool(entry.get("optional"))}})
            mounts.append({"name": name, "mountPath": entry["mountPath"]})
    return volumes, mounts


def _resources(container: JSON) -> JSON:
    asked = container.get("resources", {})
    return {
        "limits": {"cpu": asked.get("resourceCpuLimit", ""), "memory": asked.get("resourceMemoryLimit", "")},
        "requests": {"cpu": asked.get("resourceCpuRequest", ""), "memory": asked.get("resourceMemoryRequest", "")},
    }


def launcher_command(pipeline: str, given: JSON, component: JSON) -> list[str]:
    """The command of a step's container, before the step's own command.

    Args:
        pipeline: name of the pipeline.
        given: the executor input.
        component: of the task.
    """
    return [
        "/kfp-launcher/launch",
        *("--pipeline_name", pipeline, "--run_id", IDENTIFIER, "--execution_id", "1234"),
        *("--executor_input", go_json(given, escape_html=False)),
        *("--component_spec", go_json(component, escape_html=False)),
        *("--pod_name", "$(KFP_POD_NAME)", "--pod_uid", "$(KFP_POD_UID)"),
        *("--ml_pipeline_server_address", "ml-pipeline.kubeflow.svc.cluster.local"),
        *("--ml_pipeline_server_port", "8887"),
        *("--mlmd_server_address", "metadata-grpc-service.kubeflow.svc.cluster.local"),
        *("--mlmd_server_port", "8080", "--publish_logs", "true", "--publish_logs", "true", "--"),
    ]


def pod_spec_patch(pipeline: str, task: str, component: JSON, container: JSON, kubernetes: JSON, values: JSON) -> str:
    """The output `pod-spec-patch` of a task's driver.

    Args:
        pipeline: name of the pipeline.
        task: name of the task.
        component: its component.
        container: its executor's container.
        kubernetes: its executor's entry in the platform spec.
        values: of its parameters.
    """
    given = executor_input(pipeline, task, component, values)
    volumes, mounts = _volumes(kubernetes)
    main: JSON = {
        "name": "main",
        "image": container["image"],
        "command": launcher_command(pipeline, given, component),
        "args": [*container.get("command", []), *container.get("args", [])],
        "env": _environment(container, kubernetes),
        "resources": _resources(container),
    }
    if mounts:
        main["volumeMounts"] = mounts
    if "securityContext" in kubernetes:
        main["securityContext"] = {**kubernetes["securityContext"], "capabilities": {"drop": ["ALL"]}}
    patch: JSON = {"containers": [main]}
    if volumes:
        patch["volumes"] = volumes
    return go_json(patch)
