"""Who is let in with a JSON Web Token: whatever is wrong with it is refused; issuers may change their keys."""

import asyncio
import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services

from slipway.components.artifacts.signing import KeyPair
from slipway.components.clients import api_keys
from slipway.components.errors import BadInput
from slipway.serving.access import jwks
from slipway.serving.access.caller import Caller, Means, Scope
from slipway.serving.access.jwks import FileKeys, UrlKeys
from slipway.serving.access.tokens import Tokens
from slipway.serving.errors import NotCheckable, Unauthenticated
from tests.serving.conftest import Start

ISSUER, AUDIENCE = "https://issuer.example", "slipway"
RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
ALGORITHMS = ("RS256", "ES256", "EdDSA")


def jwk(private: Any, kid: str, **fields: str) -> dict[str, Any]:
    public = private.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        found = jwt.algorithms.RSAAlgorithm.to_jwk(public)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        found = jwt.algorithms.ECAlgorithm.to_jwk(public)
    else:
        found = jwt.algorithms.OKPAlgorithm.to_jwk(public)
    return {**json.loads(found), "kid": kid, **fields}


KEYS = {"keys": [jwk(RSA, "r", use="sig", alg="RS256"), jwk(EC, "e"), jwk(ED, "d")]}


LONG_S = 24 * 3600
"""Longer than a run of all tests takes: tokens are made when they are collected."""


def token(
    private: Any = RSA,
    algorithm: str = "RS256",
    kid: str | None = "r",
    header: dict[str, Any] | None = None,
    **claims: Any,
) -> str:
    now = int(time.time())
    content = {"iss": ISSUER, "aud": AUDIENCE, "sub": "shop", "exp": now + LONG_S, "iat": now, "scope": "predict"}
    content = {name: value for name, value in (content | claims).items() if value is not None}
    return jwt.encode(content, private, algorithm, (header or {}) | ({"kid": kid} if kid else {}))


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(KEYS))
    return Tokens(ISSUER, AUDIENCE, FileKeys(file), ALGORITHMS)


def ask(tokens: Tokens, given: str) -> Caller:
    return asyncio.run(tokens.caller(given))


@pytest.mark.parametrize(("private", "algorithm", "kid"), [(RSA, "RS256", "r"), (EC, "ES256", "e"), (ED, "EdDSA", "d")])
def test_a_good_token_names_its_caller(tokens: Tokens, private: Any, algorithm: str, kid: str) -> None:
    caller = ask(tokens, token(private, algorithm, kid, scope="predict slipway:explain openid"))
    assert (caller.name, caller.means, caller.key) == ("shop", Means.TOKEN, kid)
    assert caller.scopes == {Scope.PREDICT, Scope.EXPLAIN}


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": None, "scp": ["predict"]}, {"predict"}),
        ({"scope": None, "scp": "admin predict"}, {"admin", "predict"}),
        ({"scope": None}, set()),
        ({"scope": "predictions"}, set()),
        ({"scope": {"predict": True}}, set()),
        ({"aud": ["other", AUDIENCE]}, {"predict"}),
    ],
)
def test_scopes_are_read_from_the_usual_claims(tokens: Tokens, claims: dict[str, Any], scopes: set[str]) -> None:
    assert ask(tokens, token(**claims)).scopes == scopes


def test_clocks_may_differ_a_little(tokens: Tokens) -> None:
    assert ask(tokens, token(exp=int(time.time()) - 5, nbf=int(time.time()) + 5)).name == "shop"


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def unsigned(algorithm: str) -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "x", "exp": 2**40, "scope": "admin"}
    return ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": algorithm, "kid": "r"}, claims))


def signed_as_if_shared() -> str:
    """With the public key, in PEM, as the secret: the classic confusion of algorithms."""
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    content = unsigned("HS256")
    return f"{content}.{encoded(hmac.digest(pem, content.encode(), 'sha256'))}"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (token(OTHER_RSA), "signature"),
        (token(kid="unknown"), "key that the issuer does not have"),
        (token(kid=None), "key that the issuer does not have"),  # the issuer has several
        (token(kid="e"), "cannot be read|key that"),  # an RSA signature, but the key is another kind
        (token(algorithm="PS256"), "algorithm"),
        (token(EC, "ES256", "r"), "algorithm"),
        (signed_as_if_shared(), "algorithm"),
        (unsigned("none") + ".", "algorithm"),
        (token(exp=int(time.time()) - 60), "expired"),
        (token(exp=None), "claim"),
        (token(sub=None), "claim"),
        (token(aud=None), "claim|audience"),
        (token(aud="other"), "audience"),
        (token(iss="https://other.example"), "issuer"),
        (token(nbf=int(time.time()) + LONG_S), "not valid yet"),
        (token(exp=float("inf")), "cannot be read"),
        ("a.b.c", "cannot be read"),
        ("..", "cannot be read"),
        ("[" * 9000 + ".e30.", "cannot be read"),
        (base64.urlsafe_b64encode(b"[" * 9000).decode() + ".e30.x", "cannot be read"),
        (token(note="x" * 20_000), "cannot be read"),
    ],
)
def test_a_token_with_something_wrong_is_refused_and_nothing_of_it_is_told(
    tokens: Tokens, given: str, reason: str
) -> None:
    with pytest.raises(Unauthenticated, match=reason) as refusal:
        ask(tokens, given)
    assert ISSUER not in str(refusal.value)
    assert "shop" not in str(refusal.value)


@pytest.mark.parametrize("kind", ["at+jwt", "AT+JWT", "application/at+jwt", "JWT", "jwt", None])
def test_access_tokens_have_the_usual_types_or_none(tokens: Tokens, kind: str | None) -> None:
    given = token(header={"typ": kind})  # PyJWT leaves a type of None out
    assert jwt.get_unverified_header(given).get("typ") == kind
    assert ask(tokens, given).name == "shop"


@pytest.mark.parametrize("kind", ["logout+jwt", "dpop+jwt", "secevent+jwt", "id+jwt", "none", ""])
def test_a_token_for_something_else_than_access_is_refused(tokens: Tokens, kind: str) -> None:
    with pytest.raises(Unauthenticated, match="of a type that is not accepted here"):
        ask(tokens, signed({"typ": kind}))


@pytest.mark.parametrize("kind", [["JWT"], {"JWT": 1}, 7, True])
def test_a_type_that_is_no_text_is_refused(tokens: Tokens, kind: Any) -> None:
    with pytest.raises(Unauthenticated):
        ask(tokens, signed({"typ": kind}))


def signed(header: dict[str, Any]) -> str:
    """A good token but for its header, which PyJWT would mend."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "shop", "exp": now + 60, "scope": "predict"}
    parts = ({"alg": "RS256", "kid": "r", **header}, claims)
    content = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    return f"{content}.{encoded(RSA.sign(content.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def test_a_server_may_ask_for_the_type_of_access_tokens(tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_text(json.dumps(KEYS))
    strict = Tokens(ISSUER, AUDIENCE, FileKeys(tmp_path / "jwks.json"), ALGORITHMS, types=["at+jwt"])
    assert ask(strict, token(header={"typ": "at+jwt"})).name == "shop"
    for other in ("JWT", None):
        with pytest.raises(Unauthenticated, match="type"):
            ask(strict, token(header={"typ": other}))
    with pytest.raises(BadInput, match=r"logout\+jwt cannot be the type of tokens; choose from at\+jwt, JWT, none"):
        Tokens(ISSUER, AUDIENCE, FileKeys(tmp_path / "jwks.json"), ALGORITHMS, types=["logout+jwt"])


@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS512", "rs256"])
def test_weak_algorithms_cannot_be_allowed(tokens: Tokens, algorithm: str) -> None:
    with pytest.raises(BadInput, match=algorithm):
        Tokens(ISSUER, AUDIENCE, tokens._keys, [algorithm])


def test_a_shared_secret_in_the_jwks_is_no_key(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "r"}]}))
    with pytest.raises(BadInput, match="no public key"):
        FileKeys(file)


class Issuer:
    """A token issuer on this machine; what it serves can be changed."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [jwk(RSA, "first")]
        self.down = False
        self.asked = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802
                issuer.asked += self.path == "/jwks"
                known = {
                    "/jwks": {"keys": issuer.keys},
                    "/.well-known/openid-configuration": {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/jwks"},
                }
                self.send_response(503 if issuer.down else 200)
                self.end_headers()
                self.wfile.write(json.dumps(known.get(self.path, {})).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.mark.parametrize("discovered", [False, True])
def test_keys_come_from_the_issuer_and_new_ones_are_found_by_their_id(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, discovered: bool
) -> None:
    monkeypatch.setattr(jwks, "COOLDOWN_S", 0.0)

    async def story() -> None:
        keys = UrlKeys("" if discovered else f"{issuer.url}/jwks", issuer.url)
        tokens = Tokens(issuer.url, AUDIENCE, keys, ALGORITHMS)
        assert (await tokens.caller(token(kid="first", iss=issuer.url))).name == "shop"
        assert (await tokens.caller(token(kid="first", iss=issuer.url))).name == "shop"
        assert issuer.asked == 1
        issuer.keys = [jwk(OTHER_RSA, "second")]
        assert (await tokens.caller(token(OTHER_RSA, kid="second", iss=issuer.url))).name == "shop"
        with pytest.raises(Unauthenticated):
            await tokens.caller(token(kid="first", iss=issuer.url))

    asyncio.run(story())


def test_unknown_key_ids_do_not_make_the_server_ask_the_issuer_each_time(issuer: Issuer) -> None:
    async def story() -> None:
        tokens = Tokens(issuer.url, AUDIENCE, UrlKeys(f"{issuer.url}/jwks", issuer.url), ALGORITHMS)
        for number in range(20):
            with pytest.raises(Unauthenticated):
                await tokens.caller(token(kid=str(number), iss=issuer.url))

    asyncio.run(story())
    assert issuer.asked == 1


def test_an_issuer_that_is_away_is_no_fault_of_the_token(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "COOLDOWN_S", 0.0)

    async def story() -> None:
        tokens = Tokens(issuer.url, AUDIENCE, UrlKeys(f"{issuer.url}/jwks", issuer.url), ALGORITHMS)
        issuer.down = True
        with pytest.raises(NotCheckable):
            await tokens.caller(token(kid="first", iss=issuer.url))
        issuer.down = False
        assert (await tokens.caller(token(kid="first", iss=issuer.url))).name == "shop"
        issuer.down = True  # what is known stays good
        assert (await tokens.caller(token(kid="first", iss=issuer.url))).name == "shop"

    asyncio.run(story())


def test_keys_are_not_trusted_for_ever_while_the_issuer_is_away(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A key that the issuer took back was good for as long as nobody heard of it."""
    monkeypatch.setattr(jwks, "COOLDOWN_S", 0.0)
    given, now = token(kid="first", iss=issuer.url), time.monotonic()
    monkeypatch.setattr(jwks, "time", SimpleNamespace(monotonic=lambda: now))

    async def story() -> None:
        nonlocal now
        keys = UrlKeys(f"{issuer.url}/jwks", issuer.url, max_age_s=3600)
        tokens = Tokens(issuer.url, AUDIENCE, keys, ALGORITHMS)
        assert (await tokens.caller(given)).name == "shop"
        issuer.down = True
        now += 3599
        assert (await tokens.caller(given)).name == "shop"
        now += 2
        with pytest.raises(NotCheckable):
            await tokens.caller(given)
        assert "trusted for 0 s more, so tokens are refused" in caplog.text
        issuer.down = False
        assert (await tokens.caller(given)).name == "shop"

    asyncio.run(story())


def test_a_configuration_of_another_issuer_is_not_believed(issuer: Issuer) -> None:
    async def story() -> None:
        keys = UrlKeys("", f"{issuer.url}/")
        with pytest.raises(NotCheckable):
            await keys.find("first")

    asyncio.run(story())


def test_a_server_takes_tokens_and_keys_over_both_protocols(
    start: Start, signed_bundle: Path, keys: KeyPair, issuer: Issuer, tmp_path: Path
) -> None:
    file = tmp_path / "api-keys.json"
    _, key = api_keys.add(file, "desk", [Scope.PREDICT])
    options = ("--api_keys", file, "--jwt_issuer", issuer.url, "--jwt_audience", AUDIENCE)
    server = start(signed_bundle, "--public_key", keys.public_key, *options).wait_ready()
    good, wrong = token(kid="first", iss=issuer.url), token(kid="first", iss=issuer.url, scope="explain")
    over_rest: list[int] = []
    over_grpc: list[str] = []
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES"}
    body = {"inputs": [{**tensor, "data": ["late parcel"]}]}
    request = messages.ModelInferRequest(
        model_name="messages", inputs=[{**tensor, "contents": {"bytes_contents": [b"late parcel"]}}]
    )
    with grpc.insecure_channel(server.grpc) as channel:
        stub = services.GRPCInferenceServiceStub(channel)
        for secret in (good, key, wrong, token(kid="first")):
            headers = {"authorization": f"Bearer {secret}"}
            over_rest.append(httpx.post(f"{server.model_url}/infer", json=body, headers=headers).status_code)
            call = stub.ModelInfer.future(request, metadata=tuple(headers.items()))
            over_grpc.append(call.code().name)
    assert over_rest == [200, 200, 403, 401]
    assert over_grpc == ["OK", "OK", "PERMISSION_DENIED", "UNAUTHENTICATED"]
    assert good not in server.log()
