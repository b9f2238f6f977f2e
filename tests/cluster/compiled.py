"""Steps of the compiled pipeline as pods, one after the other: what stands in for the driver and the launcher of KFP.

It takes from the YAML all that Kubeflow Pipelines takes from it: image, command, arguments, environment, resources,
secrets, volumes and where each input comes from. Artifacts are on a volume that the pods share, in place of an object
store from which the launcher copies them. What KFP adds to each pod (label, pod name, security context) is added here,
and a root file system that cannot be written.
"""

import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.cluster import kit

CLAIM = "kfp-artifacts"
LIMIT_SECONDS = 900


class Ended(NamedTuple):
    """How the pod of a step ended."""

    exit_code: int
    log: str


def compile_for(image: str, folder: Path) -> Path:
    """The pipeline as `slipway compile` writes it, for an image of the cluster's nodes."""
    path = folder / "pipeline.yaml"
    command = [str(Path(sys.executable).parent / "slipway"), "compile", "--output", str(path)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"SLIPWAY_IMAGE": image})
    return path


class CompiledRun:
    """One run of the compiled pipeline in the namespace of the tests.

    Args:
        platform: the manifests of the tests.
        package: the compiled pipeline.
        parameters: of the pipeline; dictionaries are laid over the compiled defaults.
    """

    def __init__(self, platform: Any, package: Path, parameters: dict[str, Any]) -> None:
        spec, extra = yaml.safe_load_all(package.read_text("utf-8"))
        self.platform, self.run_id = platform, str(uuid.uuid4())
        self.components: dict[str, Any] = spec["components"]
        self.executors: dict[str, Any] = spec["deploymentSpec"]["executors"]
        self.extras: dict[str, Any] = extra["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        self.root: dict[str, Any] = spec["root"]
        defaults = {
            name: parameter["defaultValue"] for name, parameter in self.root["inputDefinitions"]["parameters"].items()
        }
        self.parameters = {
            name: {**value, **parameters[name]}
            if name in parameters and isinstance(value, dict)
            else parameters.get(name, value)
            for name, value in defaults.items()
        }
        self.artifacts: dict[str, dict[str, Any]] = {}
        """By `TASK-OUTPUT`: what the tasks that ran have made, or a test put in place of a task."""
        self.made: dict[str, Any] = {}
        """By `TASK-OUTPUT`: parameters of tasks that a test replaces."""

    def run(self, task: str, state: str = "") -> Ended:
        """Run a task in a pod to its end.

        Args:
            task: its name in the pipeline.
            state: for the exit task, how the pipeline ended.
        """
        component = self.components[self._tasks()[task]["componentRef"]["name"]]
        pod = self.pod(task, component["executorLabel"], self._executor_input(task, component, state))
        self.platform.cluster.apply(pod)
        name = pod["metadata"]["name"]
        began = time.monotonic()
        while (found := self.platform.read("pod", name)["status"])["phase"] not in ("Succeeded", "Failed"):
            assert time.monotonic() - began < LIMIT_SECONDS, json.dumps(found)
            time.sleep(1)
        log = self.platform.cluster.kubectl("logs", name, "--namespace", self.platform.namespace, check=False)
        self.platform.cluster.kubectl("delete", "pod", name, "--namespace", self.platform.namespace, "--wait=false")
        return Ended(found["containerStatuses"][0]["state"]["terminated"]["exitCode"], log)

    def pod(self, task: str, executor: str, executor_input: dict[str, Any]) -> dict[str, Any]:
        """The pod of a task."""
        container, extra = self.executors[executor]["container"], self.extras.get(executor, {})
        given = json.dumps(executor_input)
        name = f"{task}-{self.run_id[:8]}-{uuid.uuid4().hex[:5]}"
        volumes, mounts = _volumes(extra)
        resources = container["resources"]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": self.platform.namespace,
                "labels": {"pipeline/runid": self.run_id},
            },
            "spec": {
                "serviceAccountName": "slipway-pipeline",
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "main",
                        "image": container["image"],
                        "imagePullPolicy": "IfNotPresent",
                        "command": container["command"],
                        "args": [given if argument == "{{$}}" else argument for argument in container["args"]],
                        "env": [*container.get("env", []), *_environment(extra)],
                        "resources": {
                            "requests": {
                                "cpu": resources["resourceCpuRequest"],
                                "memory": resources["resourceMemoryRequest"],
                            },
                            "limits": {
                                "cpu": resources["resourceCpuLimit"],
                                "memory": resources["resourceMemoryLimit"],
                            },
                        },
                        "securityContext": {
                            **extra["securityContext"],
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                            "seccompProfile": {"type": "RuntimeDefault"},
                            "readOnlyRootFilesystem": True,
                        },
                        "volumeMounts": [*mounts, {"name": "artifacts", "mountPath": "/minio"}, _mount("tmp", "/tmp")],
                    }
                ],
                "volumes": [
                    *volumes,
                    {"name": "artifacts", "persistentVolumeClaim": {"claimName": CLAIM}},
                    {"name": "tmp", "emptyDir": {}},
                ],
            },
        }

    def _tasks(self) -> dict[str, Any]:
        """All tasks of the root and of the groups below it, by name."""
        found: dict[str, Any] = {}
        groups = [self.root]
        while groups:
            for name, task in groups.pop()["dag"]["tasks"].items():
                component = self.components[task["componentRef"]["name"]]
                found[name] = task
                if "dag" in component and name != "select-model":
                    groups.append(component)
        return found

    def _executor_input(self, task: str, component: dict[str, Any], state: str) -> dict[str, Any]:
        """What the driver of KFP resolves."""
        inputs = self._tasks()[task].get("inputs", {})
        outputs = component.get("outputDefinitions", {})
        values = {name: self._value(source, state) for name, source in inputs.get("parameters", {}).items()}
        made = {name: self._made(task, name, kind) for name, kind in outputs.get("artifacts", {}).items()}
        found = {name: self._artifact(source) for name, source in inputs.get("artifacts", {}).items()}
        files = {name: {"outputFile": f"/tmp/kfp/outputs/{name}"} for name in outputs.get("parameters", {})}
        return {
            "inputs": {
                "parameterValues": values,
                "artifacts": {name: {"artifacts": [artifact]} for name, artifact in found.items()},
            },
            "outputs": {
                "parameters": files,
                "artifacts": {name: {"artifacts": [artifact]} for name, artifact in made.items()},
                "outputFile": "/tmp/kfp_outputs/output_metadata.json",
            },
        }

    def _value(self, source: dict[str, Any], state: str) -> Any:
        if "taskFinalStatus" in source:
            return {"state": state, "pipelineTaskName": "exit-handler-1", "error": {}}
        if "runtimeValue" in source:
            return source["runtimeValue"]["constant"]
        if "taskOutputParameter" in source:
            output = source["taskOutputParameter"]
            return self.made[f"{output['producerTask']}-{output['outputParameterKey']}"]
        return self.parameters[source["componentInputParameter"].removeprefix("pipelinechannel--")]

    def _made(self, task: str, name: str, kind: dict[str, Any]) -> dict[str, Any]:
        uri = f"minio://{self.run_id}/{task}/{name}"
        artifact = {"name": name, "uri": uri, "metadata": {}, "type": kind["artifactType"]}
        self.artifacts[f"{task}-{name}"] = artifact
        return artifact

    def _artifact(self, source: dict[str, Any]) -> dict[str, Any]:
        if "taskOutputArtifact" in source:
            output = source["taskOutputArtifact"]
            return self.artifacts[f"{output['producerTask']}-{output['outputArtifactKey']}"]
        return self.artifacts[source["componentInputArtifact"].removeprefix("pipelinechannel--")]


def make_claim(platform: Any) -> None:
    """The volume that stands in for the launcher's object store."""
    platform.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": CLAIM, "namespace": platform.namespace},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}},
        }
    )
    if not platform.cluster.storage:
        kit.make_volumes(platform.cluster, platform.namespace)


def _environment(extra: dict[str, Any]) -> list[dict[str, Any]]:
    """Variables from secrets and fields of the pod, as the driver of KFP makes them, and those that KFP always adds."""
    found = [_field("KFP_POD_NAME", "metadata.name"), _field("KFP_POD_UID", "metadata.uid")]
    found += [_field(item["name"], item["fieldPath"]) for item in extra.get("fieldPathAsEnv", [])]
    for secret in extra.get("secretAsEnv", []):
        for item in secret["keyToEnv"]:
            key = {"name": secret["secretName"], "key": item["secretKey"], "optional": secret.get("optional", False)}
            found.append({"name": item["envVar"], "valueFrom": {"secretKeyRef": key}})
    return found


def _field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _volumes(extra: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes of secrets and config maps, and where they are mounted."""
    volumes, mounts = [], []
    for item in extra.get("secretAsVolume", []):
        secret = {"secretName": item["secretName"], "optional": item.get("optional", False)}
        volumes.append({"name": item["secretName"], "secret": secret})
        mounts.append(_mount(item["secretName"], item["mountPath"]))
    for item in extra.get("configMapAsVolume", []):
        volumes.append({"name": item["configMapName"], "configMap": {"name": item["configMapName"]}})
        mounts.append(_mount(item["configMapName"], item["mountPath"]))
    return volumes, mounts


def _mount(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "mountPath": path}
