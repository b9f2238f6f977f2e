"""Checks API keys against the hashes in a key file, which may change while the server runs."""

import hmac
from datetime import UTC, datetime
from pathlib import Path

from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import KeyEntry
from slipway.serving.access.caller import Caller, Means
from slipway.serving.access.reloading_file import ReloadingFile
from slipway.serving.errors import Unauthenticated

NO_HASH = api_keys.digest("")
"""The hash to compare with if the id is unknown. So the response time does not reveal which ids exist."""


class ApiKeys:
    """The keys in a file, which is read again when it changes.

    Raises:
        BadInput: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._entries = ReloadingFile("api_keys", [path], lambda: {entry.id: entry for entry in api_keys.read(path)})

    def caller(self, key: str) -> Caller:
        """The caller that an API key belongs to.

        Raises:
            Unauthenticated: the key is unknown, was revoked, has expired or is not valid yet.
        """
        entry = self._entries.current().get(api_keys.id_of(key) or "")
        same = hmac.compare_digest(api_keys.digest(key), entry.sha256 if entry else NO_HASH)
        if entry is None or not same:
            raise Unauthenticated("the API key is unknown or was revoked", given=True)
        _check_time(entry)
        return Caller(entry.identity, frozenset(entry.scopes), Means.KEY, entry.id)


def _check_time(entry: KeyEntry) -> None:
    if not entry.valid_at(datetime.now(UTC)):
        raise Unauthenticated("the API key has expired or is not valid yet", given=True)
