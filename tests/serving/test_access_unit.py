"""Who is let in, decided without a server: credentials, scopes and refusals."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import KeyEntry, Scope
from slipway.serving.access import EVERYBODY, Access, Credentials
from slipway.serving.access.caller import ANONYMOUS, Caller, Means, current_caller, set_caller
from slipway.serving.access.keys import ApiKeys
from slipway.serving.access.quotas import Quotas
from slipway.serving.access.rules import ANY, OPEN, method_needs, path_needs
from slipway.serving.access.tokens import Tokens
from slipway.serving.errors import Forbidden, Unauthenticated
from slipway.serving.grpc_api import access as access_grpc
from slipway.serving.limits import Limits
from slipway.serving.rest_api import access

PREDICT = frozenset({Scope.PREDICT})
Twice = tuple[tuple[str, str], ...]


def over_rest(given: Twice, certificate: str | None = None) -> Credentials:
    headers = [(name.encode(), value.encode()) for name, value in given]
    return access._credentials({"headers": headers, "state": {access.CERTIFICATE: certificate} if certificate else {}})


def over_grpc(given: Twice, certificate: str | None = None) -> Credentials:
    names = {"x509_common_name": [certificate.encode()]} if certificate else {}
    context = SimpleNamespace(invocation_metadata=lambda: given or None, auth_context=lambda: names)
    return access_grpc._credentials(context)


@pytest.mark.parametrize("read", [over_rest, over_grpc])
@pytest.mark.parametrize("name", ["authorization", "x-api-key"])
def test_credentials_that_are_there_twice_are_refused(read: Callable[..., Credentials], name: str) -> None:
    """A proxy might have looked at the other one."""
    for values in (("Bearer a", "Bearer b"), ("Bearer a", "Bearer a"), ("", "Bearer a")):
        with pytest.raises(Unauthenticated, match=f"{name} is there twice") as refusal:
            read(tuple((name, value) for value in values))
        assert refusal.value.given
    assert read((("accept", "a"), ("accept", "b"), (name, " Bearer a "))) in (
        Credentials("Bearer a"),
        Credentials(None, "Bearer a"),
    )


@pytest.mark.parametrize("read", [over_rest, over_grpc])
def test_each_credential_is_found_by_its_name(read: Callable[..., Credentials]) -> None:
    assert read(()) == Credentials()
    assert read((("authorization", "Bearer a"), ("x-api-key", "b"), ("cookie", "c"))) == Credentials("Bearer a", "b")


@pytest.mark.parametrize("read", [over_rest, over_grpc])
def test_a_certificate_is_what_tls_has_verified(read: Callable[..., Credentials]) -> None:
    assert read((), "phone") == Credentials(certificate="phone")


@dataclass(frozen=True)
class Keys:
    """A file of keys, and the entries and secrets in it."""

    file: Path
    shop: tuple[KeyEntry, str]
    ops: tuple[KeyEntry, str]
    old: tuple[KeyEntry, str]
    early: tuple[KeyEntry, str]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """A file of keys, and keys in it."""
    file, hour, now = tmp_path / "keys.json", timedelta(hours=1), datetime.now(UTC)
    return Keys(
        file=file,
        shop=api_keys.add(file, "shop", [Scope.PREDICT]),
        ops=api_keys.add(file, "ops", [Scope.ADMIN, Scope.EXPLAIN]),
        old=api_keys.add(file, "shop", [Scope.PREDICT], expires=now - hour),
        early=api_keys.add(file, "shop", [Scope.PREDICT], not_before=now + hour),
    )


class SomeTokens(Tokens):
    """Takes every token."""

    def __init__(self) -> None:
        """It needs no issuer."""

    async def caller(self, token: str) -> Caller:
        return Caller(token, PREDICT, Means.TOKEN)


def asked(access: Access, credentials: Credentials, needed: frozenset[Scope] = PREDICT) -> tuple[Caller, Caller]:
    """Who was let in, and whom the audit log would name."""

    async def ask() -> tuple[Caller, Caller]:
        set_caller(ANONYMOUS)
        caller = await access.caller(credentials, needed)
        return caller, current_caller()

    return asyncio.run(ask())


def test_a_key_is_known_by_its_secret_and_names_its_identity_scopes_and_id(keys: Keys) -> None:
    access = Access(Quotas(Limits()), ApiKeys(keys.file))
    entry, secret = keys.ops
    expected = Caller("ops", frozenset({Scope.ADMIN, Scope.EXPLAIN}), Means.KEY, entry.id)
    for credentials in (
        Credentials(f"Bearer {secret}"),
        Credentials(f"bearer   {secret}  "),
        Credentials(api_key=secret),
        Credentials("Basic x", secret),  # the key's own header counts
    ):
        assert asked(access, credentials, frozenset({Scope.ADMIN})) == (expected, expected)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (Credentials(), "needs an API key or a token"),
        (Credentials(api_key=""), "unknown or was revoked"),
        (Credentials("Bearer {shop}x"), "unknown or was revoked"),
        (Credentials("Bearer slipway_000000000000_x"), "unknown or was revoked"),
        (Credentials("Bearer {old}"), "expired or is not valid yet"),
        (Credentials("Bearer {early}"), "expired or is not valid yet"),
        (Credentials("Basic {shop}"), "must be 'Bearer'"),
        (Credentials("Bearer"), "must be 'Bearer'"),
        (Credentials("Bearer a b"), "must be 'Bearer'"),
        (Credentials("Bearer a.b.c"), "takes no tokens"),
        (Credentials(api_key="a.b.c"), "unknown or was revoked"),
    ],
)
def test_no_other_credentials_are_good(keys: Keys, given: Credentials, reason: str) -> None:
    secrets = {name: getattr(keys, name)[1] for name in ("shop", "old", "early")}
    filled = Credentials(given.authorization and given.authorization.format(**secrets), given.api_key)
    with pytest.raises(Unauthenticated, match=reason) as refusal:
        asked(Access(Quotas(Limits()), ApiKeys(keys.file)), filled)
    assert refusal.value.given is (given != Credentials())
    assert not any(secret in str(refusal.value) for secret in secrets.values())


def test_tokens_are_for_tokens_and_keys_for_keys(keys: Keys) -> None:
    both = Access(Quotas(Limits()), ApiKeys(keys.file), SomeTokens())
    assert asked(both, Credentials("Bearer a.b.c"))[0].means is Means.TOKEN
    assert asked(both, Credentials(f"Bearer {keys.shop[1]}"))[0].means is Means.KEY
    for credentials in (Credentials(api_key="a.b.c"), Credentials("Bearer a.b"), Credentials("Bearer a.b.c.d")):
        with pytest.raises(Unauthenticated, match="unknown or was revoked"):
            asked(both, credentials)
    tokens_alone = Access(Quotas(Limits()), None, SomeTokens())
    with pytest.raises(Unauthenticated, match="takes no API keys"):
        asked(tokens_alone, Credentials(f"Bearer {keys.shop[1]}"))


def test_a_certificate_alone_has_the_scopes_of_certificates_and_a_key_counts_for_more(keys: Keys) -> None:
    access = Access(Quotas(Limits()), ApiKeys(keys.file), certificate_scopes=PREDICT)
    phone = Caller("phone", PREDICT, Means.CERTIFICATE)
    assert asked(access, Credentials(certificate="phone"))[0] == phone
    assert asked(access, Credentials(api_key=keys.shop[1], certificate="phone"))[0].name == "shop"
    with pytest.raises(Unauthenticated):
        asked(access, Credentials(api_key="x", certificate="phone"))


def test_without_the_scope_a_caller_is_refused_by_name_and_told_what_it_lacks(keys: Keys) -> None:
    access = Access(Quotas(Limits()), ApiKeys(keys.file))

    async def ask() -> Caller:
        with pytest.raises(Forbidden, match="'shop' lacks the scope for this: admin or explain") as refusal:
            await access.caller(Credentials(api_key=keys.shop[1]), frozenset({Scope.EXPLAIN, Scope.ADMIN}))
        assert refusal.value.scope == "admin explain"
        return current_caller()

    assert asyncio.run(ask()).name == "shop"  # the audit log names it
    assert asked(access, Credentials(api_key=keys.shop[1]), ANY)[0].name == "shop"


def test_what_is_open_asks_nobody(keys: Keys) -> None:
    access = Access(Quotas(Limits()), ApiKeys(keys.file))
    assert asked(access, Credentials(api_key="wrong"), OPEN)[0] is ANONYMOUS


def test_an_insecure_server_takes_everybody_for_all_but_administration(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "serving"):
        access = Access(Quotas(Limits()), insecure=True)
    assert "event=insecure_no_auth" in caplog.text
    assert access.insecure
    assert not Access(Quotas(Limits())).insecure
    for scope in (Scope.PREDICT, Scope.EXPLAIN):
        assert asked(access, Credentials("nonsense"), frozenset({scope}))[0] is EVERYBODY
    with pytest.raises(Forbidden):
        asked(access, Credentials(), frozenset({Scope.ADMIN}))


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("/", OPEN), ("/v2/health/live", OPEN), ("/v2/health/livelier", ANY), ("/v2/models/m/ready", OPEN),
        ("/v2/models/m/versions/1/ready", OPEN), ("/v1/models/m", OPEN), ("/v1/models/m/", ANY),
        ("/v1/models/a/b", ANY), ("/v2/models/m", ANY), ("/metrics", ANY), ("/docs", ANY),
        ("/v2/models/m/infer", PREDICT), ("/v1/models/m:predict", PREDICT), ("/v2/models/m/infer/x", ANY),
        ("/v2/models/m/versions/1/infer", PREDICT), ("/v1/models/m:explain", frozenset({Scope.EXPLAIN})),
        ("/v2/models/m/explain", frozenset({Scope.EXPLAIN})),
        ("/v2/repository/models/m/load", frozenset({Scope.ADMIN})),
        ("/v2/repository/models/m/unload", frozenset({Scope.ADMIN})), ("/v2/repository/index", ANY),
    ],
)  # fmt: skip
def test_each_path_has_its_scope(path: str, needed: frozenset[Scope]) -> None:
    assert path_needs(path) == needed


@pytest.mark.parametrize(
    ("method", "needed"),
    [
        ("inference.GRPCInferenceService/ServerLive", OPEN), ("inference.GRPCInferenceService/ServerReady", OPEN),
        ("inference.GRPCInferenceService/ModelReady", OPEN), ("grpc.health.v1.Health/Check", OPEN),
        ("grpc.health.v1.Health/List", OPEN), ("grpc.health.v1.Health/Watch", OPEN),
        ("inference.GRPCInferenceService/ModelInfer", PREDICT),
        ("inference.GRPCInferenceService/RepositoryModelLoad", frozenset({Scope.ADMIN})),
        ("inference.GRPCInferenceService/RepositoryModelUnload", frozenset({Scope.ADMIN})),
        ("inference.GRPCInferenceService/ServerMetadata", ANY), ("inference.GRPCInferenceService/Other", ANY),
    ],
)  # fmt: skip
def test_each_method_has_its_scope(method: str, needed: frozenset[Scope]) -> None:
    assert method_needs(f"/{method}") == needed


@pytest.mark.parametrize("path", ["/v1/models/m:predict\n", "/\x00", "/v2/health/live\r"])
def test_a_path_with_other_characters_needs_more_than_anybody_has(path: str) -> None:
    with pytest.raises(Forbidden, match="characters that no path here has"):
        access._needs(path)
    assert access._needs("/v2/health/live") is OPEN
