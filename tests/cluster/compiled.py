"""The compiled pipeline as pods, from its first step to its last: what stands in for Kubeflow Pipelines.

kfp.local orders the steps: it resolves inputs, conditions, loops and the exit handler as the YAML says. In place of the
driver and the launcher of KFP this module makes a pod of each step, with all that they take from the YAML: image,
command, arguments, environment, resources, secrets and volumes. Artifacts are on a volume that the pods share, in place
of an object store from which the launcher copies them. What KFP adds to each pod (label, pod name, security context) is
added here, and a root file system that cannot be written.
"""

import builtins
import json
import os
import subprocess
import sys
import time
import uuid
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from kfp import components, local
from kfp.local import config, executor_input_utils, executor_output_utils, status, task_dispatcher

from tests.cluster import kit
from tests.cluster.conftest import Platform

CLAIM = "kfp-artifacts"
READER = "kfp-artifacts"
"""A pod that has the volume while the tests run: what steps return is read through it."""

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
        folder: an empty one, for what kfp.local keeps.
    """

    def __init__(self, platform: Platform, package: Path, folder: Path) -> None:
        spec, extra = yaml.safe_load_all(package.read_text("utf-8"))
        self.platform, self.run_id = platform, str(uuid.uuid4())
        self.ended: dict[str, list[Ended]] = defaultdict(list)
        """By task, each of its pods."""
        self._package, self._folder = package, folder
        self._executors: dict[str, Any] = spec["deploymentSpec"]["executors"]
        self._extras: dict[str, Any] = extra["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        self._defaults = {
            name: parameter["defaultValue"]
            for name, parameter in spec["root"]["inputDefinitions"]["parameters"].items()
        }

    def to_its_end(self, parameters: dict[str, Any]) -> None:
        """Run every step in a pod.

        Args:
            parameters: of the pipeline; dictionaries are laid over the compiled defaults.

        Raises:
            RuntimeError: a step failed; `ended` has its log.
        """
        given = {
            name: {**self._defaults[name], **value} if isinstance(value, dict) else value
            for name, value in parameters.items()
        }
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*have no effect in the current local runner")
            patch.setattr(builtins, "print", print)  # kfp.local wraps it in each thread of a loop, and may leave it so
            patch.setattr(config.LocalExecutionConfig, "instance", None)
            patch.setattr(task_dispatcher, "run_single_task_implementation", self._run_task)
            local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(self._folder))
            components.load_component_from_file(str(self._package))(**given)

    def logs(self) -> str:
        """All that the steps printed."""
        return "\n".join(f"{task}: {pod.log}" for task, pods in self.ended.items() for pod in pods)

    def _run_task(
        self, *, component_name: str, component_spec: Any, arguments: dict[str, Any], **_: Any
    ) -> tuple[dict[str, Any], status.Status]:
        """What kfp.local calls for a step, in place of running it on this machine."""
        task = executor_input_utils.get_local_task_resource_name(component_name)
        name = f"{task}-{self.run_id[:8]}-{uuid.uuid4().hex[:5]}"
        executor_input = executor_input_utils.construct_executor_input(
            component_spec, arguments, str(self._folder / name), block_input_artifact=False
        )
        given = json.dumps(executor_input_utils.executor_input_to_dict(executor_input, component_spec))
        ended = self._run_pod(self._pod(name, component_spec.executor_label, self._seen_by_pods(given)))
        self.ended[task].append(ended)
        if ended.exit_code:
            print(f"{name} ended with exit code {ended.exit_code}:\n{ended.log}")
            return {}, status.Status.FAILURE
        output = Path(executor_input.outputs.output_file)
        output.parent.mkdir(parents=True)
        output.write_text(self._seen_from_here(self._read(self._seen_by_pods(str(output)))), "utf-8")
        return executor_output_utils.get_outputs_for_task(executor_input, component_spec), status.Status.SUCCESS

    def _seen_by_pods(self, text: str) -> str:
        """Artifacts have the URIs of an object store, and lie where the launcher of KFP copies them to."""
        text = text.replace(f'"uri": "{self._folder}', f'"uri": "minio://{self.run_id}')
        return text.replace(str(self._folder), f"/minio/{self.run_id}")

    def _seen_from_here(self, text: str) -> str:
        return text.replace(f"minio://{self.run_id}", str(self._folder)).replace(
            f"/minio/{self.run_id}", str(self._folder)
        )

    def _read(self, path: str) -> str:
        """A file of the volume."""
        return str(
            self.platform.cluster.kubectl("exec", READER, "--namespace", self.platform.namespace, "--", "cat", path)
        )

    def _run_pod(self, pod: dict[str, Any]) -> Ended:
        self.platform.cluster.apply(pod)
        name = pod["metadata"]["name"]
        began = time.monotonic()
        while (found := self.platform.read("pod", name)["status"])["phase"] not in ("Succeeded", "Failed"):
            assert time.monotonic() - began < LIMIT_SECONDS, json.dumps(found)
            time.sleep(1)
        log = self.platform.cluster.kubectl("logs", name, "--namespace", self.platform.namespace, check=False)
        self.platform.cluster.kubectl("delete", "pod", name, "--namespace", self.platform.namespace, "--wait=false")
        return Ended(found["containerStatuses"][0]["state"]["terminated"]["exitCode"], log)

    def _pod(self, name: str, executor: str, given: str) -> dict[str, Any]:
        """The pod of a task."""
        container, extra = self._executors[executor]["container"], self._extras.get(executor, {})
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


def make_volume(platform: Platform) -> None:
    """The volume that stands in for the launcher's object store, and the pod that reads it."""
    namespace = platform.namespace
    volume = {"name": "artifacts", "persistentVolumeClaim": {"claimName": CLAIM}}
    reader = {
        "name": "reader",
        "image": platform.cluster.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "infinity"],
        "volumeMounts": [_mount("artifacts", "/minio")],
    }
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}
    platform.cluster.apply(_object("PersistentVolumeClaim", CLAIM, namespace, claim))
    if not platform.cluster.storage:
        kit.make_volumes(platform.cluster, namespace)
    pod = {"containers": [reader], "volumes": [volume], "terminationGracePeriodSeconds": 0}
    platform.cluster.kubectl("delete", "pod", READER, "--ignore-not-found", "-n", namespace)  # of another image
    platform.cluster.apply(_object("Pod", READER, namespace, pod))
    platform.cluster.kubectl("wait", f"pod/{READER}", "-n", namespace, "--for=condition=Ready", "--timeout=120s")


def _object(kind: str, name: str, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


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
