"""Why Kueue holds a job, in the words of the job's Workload.

The Workload's conditions: https://kueue.sigs.k8s.io/docs/concepts/workload/
"""

from typing import Any

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from slipway.components.platforms.kubernetes_api import TIMEOUT

GROUP = "kueue.x-k8s.io"
VERSIONS = ("v1beta2", "v1beta1")
QUEUE_LABEL = f"{GROUP}/queue-name"
JOB_LABEL = f"{GROUP}/job-uid"
"""Kueue puts it on the Workload that it makes of a job."""

BUSY, TOO_LARGE = "insufficient unused quota", "maximum capacity"
"""In Kueue's messages about a flavor: it is free later, or never has so much."""


def why_held(custom: Any, job: dict[str, Any]) -> str:
    """Why a suspended job does not start, to follow its name.

    No right to read Workloads, or a cluster without Kueue, costs the reason and nothing else.

    Args:
        custom: kubernetes CustomObjectsApi.
        job: as the API server gives it.
    """
    queue = (job["metadata"].get("labels") or {}).get(QUEUE_LABEL)
    workload = _workload(custom, job["metadata"])
    if workload and (words := _words(workload, queue)):
        return words
    if queue:
        return f"is suspended: it waits in queue {queue}"
    return "is suspended; it starts when its spec.runPolicy.suspend is false"


def _workload(custom: Any, metadata: dict[str, Any]) -> dict[str, Any] | None:
    for version in VERSIONS:
        try:
            found: list[dict[str, Any]] = custom.list_namespaced_custom_object(
                GROUP,
                version,
                metadata["namespace"],
                "workloads",
                label_selector=f"{JOB_LABEL}={metadata['uid']}",
                _request_timeout=TIMEOUT,
            )["items"]
            return found[0] if found else None
        except ApiException as error:
            if error.status != 404:
                return None
        except (HTTPError, OSError):
            return None
    return None


def _words(workload: dict[str, Any], queue: str | None) -> str:
    status = workload.get("status") or {}
    reserved = next((found for found in status.get("conditions") or [] if found["type"] == "QuotaReserved"), None)
    place = f"queue {queue or workload['spec'].get('queueName')}"
    if not workload["spec"].get("active", True):
        name = workload["metadata"]["name"]
        return f"is stopped in {place}, and waits until its Workload {name} has spec.active true again"
    if not reserved:
        return ""
    message = reserved.get("message", "")
    if reserved["status"] == "True":
        checks = [check for check in status.get("admissionChecks") or [] if check["state"] != "Ready"]
        waits = [f"{check['name']} is {check['state']} {check.get('message', '')}".strip() for check in checks]
        return f"has its quota in {place} and waits for admission checks: {'; '.join(waits)}" if waits else ""
    if reserved.get("reason") == "Inadmissible" or (TOO_LARGE in message and BUSY not in message):
        return f"cannot start from {place} as things are, and waits until someone changes them: {message}"
    return f"waits in {place}: {message}"
