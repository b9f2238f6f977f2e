"""The registry of model versions: one MLflow registered model, whose aliases say what each version is.

champion     serves, or served last
challenger   the newest registered version that was neither promoted nor rejected
previous     the champion before, to go back to

A version's tags hold where its bundle is and how it came about; `Version.tags` has them all.
"""

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from slipway.components.clients.credentials import without_credentials
from slipway.components.errors import BadInput
from slipway.components.machine.private_files import private_folder
from slipway.components.platforms import identifiers
from slipway.components.platforms.tracking_server import advice, connect

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
BUNDLE_URI, DIGEST, OUTCOME, REASON, REPLACES = "bundle_uri", "digest", "outcome", "reason", "replaces"
"""Tags: of every version; after a rollout `promoted` or `rejected`, and why; the champion that it took over from."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
HTTP_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
"""So that a server which cannot be reached is reported within seconds; MLflow's own defaults retry for minutes."""


@dataclass(frozen=True)
class Version:
    """One registered version of the model."""

    version: str
    bundle_uri: str
    digest: str
    """`sha256:…` of the bundle."""
    tags: dict[str, str] = field(default_factory=dict)


class Registry:
    """The registered model `model_name` on an MLflow tracking server; made with the first version.

    Args:
        tracking_uri: `sqlite:////absolute/path.db` (its folder is made), or the address of a server.
        model_name: letters, digits, `.`, `_` and `-`.

    Every method raises `BadInput` when the server cannot be used or does not know the version.
    """

    def __init__(self, tracking_uri: str, model_name: str) -> None:
        if not NAME.fullmatch(model_name):
            raise BadInput(f"model name {model_name!r}: expected letters, digits, '.', '_' or '-', at most 100")
        self.model_name = model_name
        self._uri = tracking_uri
        self._shown_uri = without_credentials(tracking_uri)
        for name, value in HTTP_DEFAULTS.items():
            os.environ.setdefault(name, value)
        for name in ("mlflow.store.db.utils", "alembic"):  # they tell every table that they create
            logging.getLogger(name).setLevel(logging.WARNING)
        with self._usable():
            _make_folder(tracking_uri)
            self._client = connect(tracking_uri)

    def champion(self) -> Version | None:
        """The version that serves."""
        return self._aliased(CHAMPION)

    def challenger(self) -> Version | None:
        """The version that waits for its rollout."""
        return self._aliased(CHALLENGER)

    def previous(self) -> Version | None:
        """The champion before the present one."""
        return self._aliased(PREVIOUS)

    def version(self, name: str) -> Version:
        """The version with this number, for example `"3"`."""
        with self._usable(f"version {name!r} of model {self.model_name!r}"):
            return self._read(self._client.get_model_version(self.model_name, name))

    def find(self, tag: str, value: str) -> Version | None:
        """The newest version whose tag has this value (a digest, say)."""
        query = f"name = '{self.model_name}' and tags.`{tag}` = '{value}'"
        with self._usable():
            found = self._client.search_model_versions(query, max_results=1, order_by=["version_number DESC"])
        return self._read(found[0]) if found else None

    def register(self, bundle_uri: str, digest: str, tags: Mapping[str, str]) -> Version:
        """Add a version and make it the challenger."""
        identifiers.bundle_uri(bundle_uri, "the place of the bundle")
        identifiers.digest(digest, "the digest of the bundle")
        all_tags = dict(tags) | {BUNDLE_URI: bundle_uri, DIGEST: digest}
        with self._usable():
            try:
                self._client.create_registered_model(self.model_name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            made = self._client.create_model_version(self.model_name, self._source(bundle_uri), tags=all_tags)
            self._client.set_registered_model_alias(self.model_name, CHALLENGER, str(made.version))
        return self._read(made)

    def nominate(self, version: Version | str) -> None:
        """Make an earlier version the challenger again and forget how its last rollout ended; not the champion."""
        number = _number(version)
        with self._usable(f"version {number!r} of model {self.model_name!r}"):
            if self._aliases().get(CHAMPION) == number:
                return
            for tag in (OUTCOME, REASON):
                self._client.delete_model_version_tag(self.model_name, number, tag)
            self._client.set_registered_model_alias(self.model_name, CHALLENGER, number)

    def promote(self, version: Version | str) -> None:
        """Make a version the champion and the champion before it `previous`; to do it again changes nothing.

        A promotion that was cut short is completed by doing it again: which champion was replaced is written to the
        version before the alias moves. `previous` never names the champion.
        """
        number = _number(version)
        with self._usable(f"version {number!r} of model {self.model_name!r}"):
            before = self._client.get_model_version(self.model_name, number)
            aliases, replaced = self._aliases(), before.tags.get(REPLACES, "")
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
            self._tag(number, OUTCOME, "promoted")

    def reject(self, version: Version | str, reason: str) -> None:
        """Take the challenger's alias from a version and note why; to do it again changes nothing.

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
            found = self._client.get_registered_model(self.model_name).aliases
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        return {alias: str(number) for alias, number in found.items()}

    def _alias(self, alias: str, number: str) -> None:
        self._client.set_registered_model_alias(self.model_name, alias, number)

    def _tag(self, number: str, tag: str, value: str) -> None:
        self._client.set_model_version_tag(self.model_name, number, tag, value)

    def _read(self, found: ModelVersion) -> Version:
        tags = dict(found.tags)
        if not tags.get(BUNDLE_URI) or not tags.get(DIGEST):
            raise BadInput(
                f"version {found.version} of {self.model_name} has no tags {BUNDLE_URI} and {DIGEST}: Slipway did not "
                "register it; remove it, or use another model name"
            )
        of = f"of version {found.version} of {self.model_name} in the registry"
        return Version(
            identifiers.version(str(found.version), f"the number {of}"),
            identifiers.bundle_uri(tags[BUNDLE_URI], f"the tag {BUNDLE_URI} {of}"),
            identifiers.digest(tags[DIGEST], f"the tag {DIGEST} {of}"),
            tags,
        )

    def _source(self, bundle_uri: str) -> str:
        """MLflow servers refuse folders outside their own artifacts as a source; the tag has the true place."""
        local = "://" not in bundle_uri
        return f"folder:{bundle_uri}" if local and self._uri.startswith("http") else bundle_uri

    @contextlib.contextmanager
    def _usable(self, wanted: str = "") -> Iterator[None]:
        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError, ImportError, ValueError) as error:
            if wanted and getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
                raise BadInput(f"the registry {self._shown_uri} has no {wanted}; see `slipway status`") from error
            reason = without_credentials(str(error).splitlines()[0][:500] if str(error) else type(error).__name__)
            raise BadInput(
                f"the MLflow registry {self._shown_uri} cannot be used ({reason}); {advice(error)}"
            ) from error


def _number(version: Version | str) -> str:
    return version.version if isinstance(version, Version) else version


def _make_folder(tracking_uri: str) -> None:
    if tracking_uri.startswith("sqlite:"):
        database = make_url(tracking_uri).database
        if database and not Path(database).parent.exists():
            private_folder(Path(database).parent)
