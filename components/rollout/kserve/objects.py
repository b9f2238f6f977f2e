"""Reads, applies and deletes one namespaced object in the cluster, each change for a known state of the object."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from slipway.components.errors import SlipwayError
from slipway.components.platforms.kubernetes_api import TIMEOUT, asking, message

FIELD_MANAGER = "slipway-rollout"
"""Field manager of the fields that a rollout sets (server-side apply). Fields of other managers stay as they are."""
ABSENT = "0"
"""A `resourceVersion` that the API server accepts only for an object that does not exist."""


class Changed(SlipwayError):
    """The object is not in the state for which a change was made."""


class Kind(NamedTuple):
    """A kind of namespaced objects."""

    group: str
    version: str
    plural: str
    name: str
    needs: str
    """What must be installed for the cluster to know it."""

    @property
    def head(self) -> dict[str, str]:
        """The fields `apiVersion` and `kind` of an object."""
        return {"apiVersion": f"{self.group}/{self.version}", "kind": self.name}


class OwnObject:
    """One object, of which a rollout owns some fields.

    Args:
        connection: to the cluster.
        kind: of the object.
        namespace: of the object.
        name: of the object.

    Every method raises `BadInput` when the cluster denies the request or does not know the kind, and
    `slipway.components.platforms.kubernetes_api.ApiAway` when it cannot be reached.
    """

    def __init__(self, connection: client.ApiClient, kind: Kind, namespace: str, name: str) -> None:
        self.connection, self.kind, self.namespace, self.name = connection, kind, namespace, name
        self._custom = client.CustomObjectsApi(connection)

    def read(self) -> dict[str, Any] | None:
        """The object, or None when there is none."""
        group, version, plural, _, needs = self.kind
        return self._object(group, version, plural, self.name, needs)

    def apply(self, fields: dict[str, Any], manager: str = FIELD_MANAGER) -> dict[str, Any]:
        """Set the fields of a field manager (server-side apply), and return the object.

        Fields that the manager had set before and that are missing now are removed.

        Args:
            fields: the fields. With a `resourceVersion` they are applied to that state of the object only.
            manager: the field manager.

        Raises:
            Changed: the object is in another state.
        """
        group, version, plural, _, needs = self.kind
        path = f"/apis/{group}/{version}/namespaces/{self.namespace}/{plural}/{self.name}"
        with asking(f"change {plural}", needs=needs), _if_unchanged():
            response = self.connection.call_api(
                path,
                "PATCH",
                query_params=[("fieldManager", manager), ("force", "true")],
                header_params={"Content-Type": "application/apply-patch+yaml", "Accept": "application/json"},
                body=fields,  # the library writes it as JSON, which is YAML
                auth_settings=["BearerToken"],
                response_type="object",
                _return_http_data_only=True,
                _request_timeout=TIMEOUT,
            )
        return dict(response)

    def delete(self, resource_version: str) -> None:
        """Delete the object if it is in a certain state; nothing happens when it does not exist.

        Raises:
            Changed: the object is in another state.
        """
        group, version, plural, _, _ = self.kind
        gone = SlipwayError("gone")
        options = client.V1DeleteOptions(preconditions=client.V1Preconditions(resource_version=resource_version))
        try:
            with asking(f"delete {plural}", missing=gone), _if_unchanged():
                self._custom.delete_namespaced_custom_object(
                    group, version, self.namespace, plural, self.name, body=options, _request_timeout=TIMEOUT
                )
        except SlipwayError as error:
            if error is not gone:
                raise

    def _object(self, group: str, version: str, plural: str, name: str, needs: str) -> dict[str, Any] | None:
        with asking(f"read {plural}", needs=needs):
            try:
                existing: dict[str, Any] = self._custom.get_namespaced_custom_object(
                    group, version, self.namespace, plural, name, _request_timeout=TIMEOUT
                )
            except ApiException as error:
                if error.status == 404 and _names_object(error):
                    return None
                raise
        return existing


@contextmanager
def _if_unchanged() -> Iterator[None]:
    """Raise `Changed` when the API server rejects a change that was made for another state.

    It answers with a conflict, or with an invalid value when the state was `ABSENT`.
    """
    try:
        yield
    except ApiException as error:
        if error.status == 409 or (error.status == 422 and "must be specified for an update" in message(error)):
            raise Changed(message(error)) from error
        raise


def _names_object(error: ApiException) -> bool:
    """Whether a 404 means that the object does not exist; otherwise its kind is unknown."""
    try:
        return bool(json.loads(error.body).get("details", {}).get("name"))
    except (ValueError, TypeError):
        return False
