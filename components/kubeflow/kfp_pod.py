"""What the pod of a step has on Kubeflow Pipelines: credentials, keys, the run's id, processors and memory.

kfp.local ignores it: there a step finds the same in the environment and the files of its machine. The names are those
of `manifests/`. kfp has no way to ask for a read-only root file system; the steps would run on one, since they write to
/tmp and to the folders of their artifacts only.
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
    """What a step asks for and what it may use at most, as Kubernetes quantities."""

    cpu: str
    cpu_limit: str
    memory: str
    memory_limit: str


LIGHT = Resources("100m", "1", "512Mi", "2Gi")
DATA = Resources("500m", "2", "1Gi", "4Gi")
COMPUTING = Resources("1", "4", "2Gi", "6Gi")
TRAINING = Resources("250m", "4", "1Gi", "8Gi")
"""Little for one that waits for a PyTorchJob, enough for one that trains in its own pod."""


def in_pod(task: dsl.PipelineTask, resources: Resources) -> dsl.PipelineTask:
    """Give a task the store's credentials, the run's id and its resources.

    The credentials are files, which `slipway.components.platforms.mounted_credentials` reads: as variables they would
    make up a quarter of a run's Workflow object. Without them the pod starts all the same, and the step says what is
    missing.
    """
    kubernetes.use_secret_as_volume(task, STORE_SECRET, CREDENTIALS_FOLDER, optional=True)
    kubernetes.use_field_path_as_env(task, RUN_ID, "metadata.labels['pipeline/runid']")
    kubernetes.set_security_context(task, run_as_non_root=True)
    task.set_cpu_request(resources.cpu).set_cpu_limit(resources.cpu_limit)
    return task.set_memory_request(resources.memory).set_memory_limit(resources.memory_limit)


def with_encryption_key(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Mount the key that bundles are encrypted with, with the file that says where it is, when there is a Secret."""
    return kubernetes.use_secret_as_volume(task, ENCRYPTION_SECRET, ENCRYPTION_FOLDER, optional=True)


def with_api_key(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Give a task that asks model servers the API key of the rollout."""
    return kubernetes.use_secret_as_env(task, CLIENT_SECRET, {API_KEY: API_KEY}, optional=True)


def with_hub(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Give a task that loads encoders or data the token of the hub, where there is one."""
    return kubernetes.use_secret_as_volume(task, HUB_SECRET, HUB_FOLDER, optional=True)


def with_public_key(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Mount the public key that bundles are verified with."""
    return kubernetes.use_config_map_as_volume(task, PUBLIC_KEY, PUBLIC_KEY_FOLDER)
