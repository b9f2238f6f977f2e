"""Explain why Kueue holds a job, from the conditions of the job's Workload.

See https://kueue.sigs.k8s.io/docs/concepts/workload/ for the conditions.
"""

from typing import Any

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from slipway.components.platforms.kubernetes_api import TIMEOUT

GROUP = "kueue.x-k8s.io"
VERSIONS = ("v1beta2", "v1beta1")
QUEUE_LABEL = f"{GROUP}/queue-name"
JOB_LABEL = f"{GROUP}/job-uid"
"""Label of the Workload that Kueue makes for a job."""

BUSY, TOO_LARGE = "insufficient unused quota", "maximum capacity"
"""Texts in Kueue's messages about a flavor: its quota is in use at the moment, or it never has so much."""


def why_held(custom: Any, job: dict[str, Any]) -> str:
    """Why a suspended job does not start, as the end of a sentence that begins with the job's name.

    Without the right to read Workloads, or in a cluster without Kueue, the sentence is general.

    Args:
        custom: kubernetes CustomObjectsApi.
        job: as the API server returns it.
    """
    queue = (job["metadata"].get("labels") or {}).get(QUEUE_LABEL)
    workload = _workload(custom, job["metadata"])
    if workload and (explanation := _explanation_of(workload, queue)):
        return explanation
    if queue:
        return f"is suspended: it waits in queue {queue}"
    return "is suspended; it starts when its spec.runPolicy.suspend is false"


def _workload(custom: Any, metadata: dict[str, Any]) -> dict[str, Any] | None:
    for version in VERSIONS:
        try:
            workloads: list[dict[str, Any]] = custom.list_namespaced_custom_object(
                GROUP,
                version,
                metadata["namespace"],
                "workloads",
                label_selector=f"{JOB_LABEL}={metadata['uid']}",
                _request_timeout=TIMEOUT,
            )["items"]
            return workloads[0] if workloads else None
        except ApiException as error:
            if error.status != 404:
                return None
        except (HTTPError, OSError):
            return None
    return None


def _explanation_of(workload: dict[str, Any], queue: str | None) -> str:
    status = workload.get("status") or {}
    reserved = next(
        (condition for condition in status.get("conditions") or [] if condition["type"] == "QuotaReserved"), None
    )
    where = f"queue {queue or workload['spec'].get('queueName')}"
    if not workload["spec"].get("active", True):
        name = workload["metadata"]["name"]
        return f"is stopped in {where}, and waits until its Workload {name} has spec.active true again"
    if not reserved:
        return ""
    message = reserved.get("message", "")
    if reserved["status"] == "True":
        checks = [check for check in status.get("admissionChecks") or [] if check["state"] != "Ready"]
        pending = [f"{check['name']} is {check['state']} {check.get('message', '')}".strip() for check in checks]
        return f"has its quota in {where} and waits for admission checks: {'; '.join(pending)}" if pending else ""
    if reserved.get("reason") == "Inadmissible" or (TOO_LARGE in message and BUSY not in message):
        return f"cannot start from {where} as things are, and waits until someone changes them: {message}"
    return f"waits in {where}: {message}"
