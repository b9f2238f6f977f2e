"""Set up the pod of a step on Kubeflow Pipelines: credentials, keys, the run's id, CPU and memory.

kfp.local ignores these settings; there a step reads the same from the environment and the files of the machine. The
names are those of `manifests/`. kfp cannot request a read-only root file system. The steps would run on one, since they
write only to /tmp and to the folders of their artifacts.
"""

from typing import NamedTuple

from kfp import dsl, kubernetes

from slipway.components.clients.credentials import API_KEY
from slipway.components.platforms.cluster_settings import HUB_SECRET, PUBLIC_KEY
from slipway.components.platforms.container_image import (
    CREDENTIALS_FOLDER,
    ENCRYPTION_FOLDER,
    HUB_FOLDER,
    PUBLIC_KEY_FOLDER,
)

STORE_SECRET, ENCRYPTION_SECRET, CLIENT_SECRET = "slipway-s3", "slipway-encryption", "slipway-client"
RUN_ID = "SLIPWAY_RUN_ID"


class Resources(NamedTuple):
    """The requests and limits of a step, as Kubernetes quantities."""

    cpu: str
    cpu_limit: str
    memory: str
    memory_limit: str


LIGHT = Resources("100m", "1", "512Mi", "2Gi")
DATA = Resources("500m", "2", "1Gi", "4Gi")
COMPUTING = Resources("1", "4", "2Gi", "6Gi")
TRAINING = Resources("250m", "4", "1Gi", "8Gi")
"""Small requests, for a step that waits for a PyTorchJob; large limits, for one that trains in its own pod."""


def in_pod(task: dsl.PipelineTask, resources: Resources) -> dsl.PipelineTask:
    """Give a task the store's credentials, the run's id and its resources.

    The credentials are mounted as files, which `slipway.components.platforms.mounted_credentials` reads. As environment
    variables they would be a quarter of a run's Workflow object. The Secret is optional, so that without it the pod
    starts, and the step reports what is missing.
    """
    kubernetes.use_secret_as_volume(task, STORE_SECRET, CREDENTIALS_FOLDER, optional=True)
    kubernetes.use_field_path_as_env(task, RUN_ID, "metadata.labels['pipeline/runid']")
    kubernetes.set_security_context(task, run_as_non_root=True)
    task.set_cpu_request(resources.cpu).set_cpu_limit(resources.cpu_limit)
    return task.set_memory_request(resources.memory).set_memory_limit(resources.memory_limit)


def with_encryption_key(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Mount the key that bundles are encrypted with, and a file with the key's path, if there is such a Secret."""
    return kubernetes.use_secret_as_volume(task, ENCRYPTION_SECRET, ENCRYPTION_FOLDER, optional=True)


def with_api_key(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Give a task that sends requests to model servers the API key of the rollout."""
    return kubernetes.use_secret_as_env(task, CLIENT_SECRET, {API_KEY: API_KEY}, optional=True)


def with_hub(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Give a task that loads encoders or data the token of the hub, if there is one."""
    return kubernetes.use_secret_as_volume(task, HUB_SECRET, HUB_FOLDER, optional=True)


def with_public_key(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Mount the public key that bundles are verified with."""
    return kubernetes.use_config_map_as_volume(task, PUBLIC_KEY, PUBLIC_KEY_FOLDER)
