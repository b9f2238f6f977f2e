"""The registry of model versions: one MLflow registered model, whose aliases give some versions a role.

champion     serves, or served last
challenger   the newest registered version that was neither promoted nor rejected
previous     the champion before the present one, for a rollback

The tags of a version state where its bundle is and how it was made; `Version.tags` has all of them.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.components.clients.credentials import without_credentials
from slipway.components.errors import BadInput
from slipway.components.machine.private_files import private_folder
from slipway.components.platforms import identifiers
from slipway.components.platforms.tracking_server import advice, connect, errors, experiment_of

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
BUNDLE_URI, DIGEST, OUTCOME, REASON, REPLACES = "bundle_uri", "digest", "outcome", "reason", "replaces"
"""Tags. Every version has the first two. A rollout sets the outcome (`promoted` or `rejected`) and the reason of a
rejection. A promotion sets the champion that was replaced."""
PROMOTED = "promoted"

DATASET, LABELS, TEST_MACRO_F1 = "dataset_digest", "labels_digest", "test_macro_f1"
"""Tags by which versions are compared: the data they were made of, their labels, and their score on the test split.
Versions of earlier releases have no `labels_digest`."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
HTTP_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
"""Defaults with which an unreachable server is reported within seconds. MLflow's own defaults retry for minutes."""


@dataclass(frozen=True)
class Version:
    """One registered version of the model."""

    version: str
    """Its number."""
    bundle_uri: str
    digest: str
    """`sha256:…` of the bundle."""
    tags: dict[str, str] = field(default_factory=dict)


class Registry:
    """The registered model `model_name` on an MLflow tracking server. It is made with the first version.

    Every method raises `BadInput` if the server cannot be used or does not know the version.

    Args:
        tracking_uri: `sqlite:////absolute/path.db` (its folder is made), or the address of a server.
        model_name: letters, digits, `.`, `_` and `-`, at most 100.
    """

    def __init__(self, tracking_uri: str, model_name: str) -> None:
        if not NAME.fullmatch(model_name):
            raise BadInput(f"model name {model_name!r}: expected letters, digits, '.', '_' or '-', at most 100")
        self.model_name = model_name
        self._uri = tracking_uri
        self._shown_uri = without_credentials(tracking_uri)
        for name, value in HTTP_DEFAULTS.items():
            os.environ.setdefault(name, value)
        for name in ("mlflow.store.db.utils", "alembic"):  # they log every table that they create
            logging.getLogger(name).setLevel(logging.WARNING)
        with self._usable():
            _make_folder(tracking_uri)
            self._client = connect(tracking_uri)

    def check_experiment(self, name: str) -> None:
        """Check that trainings can be logged to an experiment, which may not be there yet.

        Raises:
            BadInput: it was deleted.
        """
        with self._usable():
            experiment_of(self._client, name)

    def champion(self) -> Version | None:
        """The version that serves, or served last; None if there is none."""
        return self._aliased(CHAMPION)

    def challenger(self) -> Version | None:
        """The version that waits for its rollout; None if there is none."""
        return self._aliased(CHALLENGER)

    def previous(self) -> Version | None:
        """The champion before the present one; None if there is none."""
        return self._aliased(PREVIOUS)

    def version(self, name: str) -> Version:
        """The version with this number, for example `"3"`."""
        with self._usable(f"version {name!r} of model {self.model_name!r}"):
            return self._read(self._client.get_model_version(self.model_name, name))

    def find(self, tag: str, value: str) -> Version | None:
        """The newest version whose tag has this value, for example a digest; None if there is none."""
        query = f"name = '{self.model_name}' and tags.`{tag}` = '{value}'"
        with self._usable():
            versions = self._client.search_model_versions(query, max_results=1, order_by=["version_number DESC"])
        return self._read(versions[0]) if versions else None

    def promoted(self) -> list[Version]:
        """All versions that were promoted once, in no order."""
        query = f"name = '{self.model_name}' and tags.`{OUTCOME}` = '{PROMOTED}'"
        with self._usable():
            return [self._read(found) for found in self._client.search_model_versions(query)]

    def register(self, bundle_uri: str, digest: str, tags: Mapping[str, str]) -> Version:
        """Add a version and make it the challenger."""
        identifiers.bundle_uri(bundle_uri, "the place of the bundle")
        identifiers.digest(digest, "the digest of the bundle")
        all_tags = dict(tags) | {BUNDLE_URI: bundle_uri, DIGEST: digest}
        with self._usable():
            try:
                self._client.create_registered_model(self.model_name)
            except errors() as error:
                if _code(error) != "RESOURCE_ALREADY_EXISTS":
                    raise
            created = self._client.create_model_version(self.model_name, self._source(bundle_uri), tags=all_tags)
            self._client.set_registered_model_alias(self.model_name, CHALLENGER, str(created.version))
        return self._read(created)

    def nominate(self, version: Version | str) -> None:
        """Make an earlier version the challenger again, and remove the outcome of its last rollout.

        Nothing happens if the version is the champion.
        """
        number = _number(version)
        with self._usable(f"version {number!r} of model {self.model_name!r}"):
            if self._aliases().get(CHAMPION) == number:
                return
            for tag in (OUTCOME, REASON):
                self._client.delete_model_version_tag(self.model_name, number, tag)
            self._client.set_registered_model_alias(self.model_name, CHALLENGER, number)

    def promote(self, version: Version | str) -> None:
        """Make a version the champion, and the former champion `previous`. The call is idempotent.

        A promotion that was interrupted is completed by another call, since the replaced champion is written to a tag
        of the version before the alias moves. `previous` never names the champion.
        """
        number = _number(version)
        with self._usable(f"version {number!r} of model {self.model_name!r}"):
            current = self._client.get_model_version(self.model_name, number)
            aliases, replaced = self._aliases(), current.tags.get(REPLACES, "")
            if aliases.get(CHAMPION) != number:
                replaced = aliases.get(CHAMPION, "")
                self._tag(number, REPLACES, replaced)
                self._alias(CHAMPION, number)
            if replaced:
                self._alias(PREVIOUS, identifiers.version(replaced, f"the tag {REPLACES} of version {number}"))
            elif aliases.get(PREVIOUS) == number:
                self._client.delete_registered_model_alias(self.model_name, PREVIOUS)
            if aliases.get(CHALLENGER) == number:
                self._client.delete_registered_model_alias(self.model_name, CHALLENGER)
            self._tag(number, OUTCOME, PROMOTED)

    def reject(self, version: Version | str, reason: str) -> None:
        """Remove the alias `challenger` from a version, and write the reason to a tag. The call is idempotent.

        Raises:
            BadInput: the version is the champion.
        """
        number = _number(version)
        with self._usable(f"version {number!r} of model {self.model_name!r}"):
            aliases = self._aliases()
            if aliases.get(CHAMPION) == number:
                raise BadInput(f"version {number} of {self.model_name} is the champion; promote another one instead")
            self._tag(number, OUTCOME, "rejected")
            self._tag(number, REASON, reason[:5000])
            if aliases.get(CHALLENGER) == number:
                self._client.delete_registered_model_alias(self.model_name, CHALLENGER)

    def _aliased(self, alias: str) -> Version | None:
        with self._usable():
            number = self._aliases().get(alias)
        return self.version(number) if number else None

    def _aliases(self) -> dict[str, str]:
        try:
            aliases = self._client.get_registered_model(self.model_name).aliases
        except errors() as error:
            if _code(error) == "RESOURCE_DOES_NOT_EXIST":  # no version was registered yet
                return {}
            raise
        return {alias: str(number) for alias, number in aliases.items()}

    def _alias(self, alias: str, number: str) -> None:
        self._client.set_registered_model_alias(self.model_name, alias, number)

    def _tag(self, number: str, tag: str, value: str) -> None:
        self._client.set_model_version_tag(self.model_name, number, tag, value)

    def _read(self, entity: "ModelVersion") -> Version:
        """Convert MLflow's entity. Others may write its tags, so BadInput is raised if they are not valid."""
        tags = dict(entity.tags)
        if not tags.get(BUNDLE_URI) or not tags.get(DIGEST):
            raise BadInput(
                f"version {entity.version} of {self.model_name} has no tags {BUNDLE_URI} and {DIGEST}: Slipway did not "
                "register it; remove it, or use another model name"
            )
        origin = f"of version {entity.version} of {self.model_name} in the registry"
        return Version(
            identifiers.version(str(entity.version), f"the number {origin}"),
            identifiers.bundle_uri(tags[BUNDLE_URI], f"the tag {BUNDLE_URI} {origin}"),
            identifiers.digest(tags[DIGEST], f"the tag {DIGEST} {origin}"),
            tags,
        )

    def _source(self, bundle_uri: str) -> str:
        """The source of a version for MLflow. Its servers refuse a folder, so a prefix hides it; a tag has the path."""
        local = "://" not in bundle_uri
        return f"folder:{bundle_uri}" if local and self._uri.startswith("http") else bundle_uri

    @contextlib.contextmanager
    def _usable(self, what: str = "") -> Iterator[None]:
        """Turn errors of MLflow into BadInput; `what` names the object of the request, which may not exist."""
        try:
            yield
        except errors() as error:
            if what and _code(error) == "RESOURCE_DOES_NOT_EXIST":
                raise BadInput(f"the registry {self._shown_uri} has no {what}; see `slipway status`") from error
            reason = without_credentials(str(error).splitlines()[0][:500] if str(error) else type(error).__name__)
            raise BadInput(
                f"the MLflow registry {self._shown_uri} cannot be used ({reason}); {advice(error)}"
            ) from error


def labels_digest(labels: Sequence[str]) -> str:
    """The value of the tag `labels_digest`: `sha256:…` over the labels in any order."""
    return f"sha256:{hashlib.sha256(json.dumps(sorted(labels)).encode()).hexdigest()}"


def _number(version: Version | str) -> str:
    return version.version if isinstance(version, Version) else version


def _code(error: Exception) -> str:
    """MLflow's code of an error; empty for errors of other libraries."""
    return str(getattr(error, "error_code", ""))


def _make_folder(tracking_uri: str) -> None:
    from sqlalchemy.engine import make_url

    if tracking_uri.startswith("sqlite:"):
        database = make_url(tracking_uri).database
        if database and not Path(database).parent.exists():
            private_folder(Path(database).parent)
