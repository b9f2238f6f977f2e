"""How a store of S3 is asked, and what is told of each way in which it does not answer as one."""

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from slipway.components.errors import BadInput
from slipway.components.platforms import s3
from tests.authority import Authority
from tests.components.platforms.test_storage import ACCESS, SECRET, use


class Answers(ThreadingHTTPServer):
    """A server that notes what it is asked, and answers with what it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        """Method and path, headers in lower case, and body of each request."""
        self.clear()

    def clear(self) -> None:
        self.asked.clear()
        self.status, self.body, self.missing = 200, b"", 0

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Answers
    protocol_version = "HTTP/1.1"  # in which a client may ask whether to go on before it sends a body

    def answer(self) -> None:
        given = self.server
        headers = {name.lower(): value for name, value in self.headers.items()}
        content = self.rfile.read(int(headers.get("content-length", 0)))
        given.asked.append((f"{self.command} {self.path}", headers, content))
        self.send_response(given.status)
        self.send_header("content-length", str(len(given.body) + given.missing))
        self.send_header("etag", '"0"')
        self.end_headers()
        self.wfile.write(given.body)
        self.close_connection |= bool(given.missing)

    do_GET = do_PUT = do_HEAD = do_DELETE = answer  # noqa: N815  # http.server's names

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[Answers]:
    with Answers() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def client(server: Answers) -> Any:
    """A client as storage uses it; to make one takes longer than all that is asked here."""
    with pytest.MonkeyPatch.context() as patch:
        use(patch, f"http://user:password@{server.place}")
        return s3._client()


@pytest.fixture
def store(server: Answers, client: Any, monkeypatch: pytest.MonkeyPatch) -> Answers:
    """The server, which is asked with the one client."""
    server.clear()
    monkeypatch.setattr(s3, "_client", lambda: client)
    return server


def refused(uri: str = "s3://models/a/b") -> str:
    """The message of a listing that is refused; it shows no login."""
    with pytest.raises(BadInput) as caught, s3.opened(uri) as location:
        location.names()
    message = str(caught.value)
    assert not any(secret in message for secret in (SECRET, ACCESS, "password"))
    return message


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (404, "NoSuchBucket", "does not exist; create it or correct the URI"),
        (404, "NoSuchKey", "has no object 'a/b'; correct the URI"),
        (404, "", "answered 404 (not found); correct the URI, and AWS_ENDPOINT_URL if that is no S3 store"),
        *(
            (403, code, f"refuses access ({code or 403}); check the credentials and what they are allowed to do")
            for code in ("", *sorted(s3.NO_ACCESS - {"403"}))
        ),
        (400, "EntityTooLarge", "answered with the error EntityTooLarge; see the log of the store"),
    ],
)
def test_each_refusal_of_a_store_is_told_with_its_bucket_and_what_to_do(
    store: Answers, status: int, code: str, told: str
) -> None:
    store.status = status
    store.body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode() if code else b""
    assert refused() == f"bucket 'models' at http://{store.place} {told}"


def test_a_store_other_than_that_of_aws_is_asked_in_the_oldest_way(store: Answers, tmp_path: Path) -> None:
    """With its bucket in the path, in one request, and without the checksums that many stores do not know."""
    (tmp_path / "file").write_bytes(b"content")
    sent: list[int] = []
    with s3.opened("s3://models/a/b/") as location:
        location.upload(tmp_path / "file", "c d", sent.append)
        store.body = b"more"
        location.download("c d", tmp_path / "back")
        store.body = b""
        location.delete("y", "x")
    asked, headers, bodies = zip(*store.asked, strict=True)
    names = ("PUT /models/a/b/c%20d", "GET /models/a/b/c%20d", "DELETE /models/a/b/x", "DELETE /models/a/b/y")
    assert asked == names
    assert bodies[0] == b"content"
    assert sum(sent) == 7
    assert (tmp_path / "back").read_bytes() == b"more"
    assert not [name for of_request in headers for name in of_request if "checksum" in name or "trailer" in name]


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", ""])
def test_only_a_store_other_than_that_of_aws_is_asked_so(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    if variable:
        monkeypatch.setenv(variable, "http://127.0.0.1:9000")
    config = s3._client().meta.config
    checksums = {config.request_checksum_calculation, config.response_checksum_validation}
    assert checksums == ({"when_required"} if variable else {"when_supported"})
    assert config.s3 == ({"addressing_style": "path"} if variable else None)


def test_a_store_that_is_silent_is_given_up_within_a_minute(client: Any) -> None:
    config = client.meta.config
    seconds = config.connect_timeout + config.read_timeout
    assert config.retries == {"total_max_attempts": 2, "mode": "standard"}
    assert config.connect_timeout <= 5
    assert 2 * seconds < 60


@pytest.mark.parametrize(
    ("uri", "bucket", "prefix", "key"),
    [
        ("s3://models", "models", "", "x"),
        ("s3://models/", "models", "", "x"),
        ("s3://models//a//b/", "models", "a//b", "a//b/x"),
        ("s3://0.m-1/a", "0.m-1", "a", "a/x"),
        (f"s3://{'m' * 63}/a", "m" * 63, "a", "a/x"),
    ],
)
@pytest.mark.usefixtures("store")
def test_a_uri_is_a_bucket_and_a_prefix(uri: str, bucket: str, prefix: str, key: str) -> None:
    with s3.opened(uri) as location:
        assert (location.bucket, location.prefix, location.key("x")) == (bucket, prefix, key)


@pytest.mark.parametrize(
    "bucket", ["", "mo", "m" * 64, "Models", "-models", "models.", "mo_dels", "models\n", "mödels"]
)
def test_what_no_bucket_can_be_called_is_refused_before_the_store_is_asked(store: Answers, bucket: str) -> None:
    assert refused(f"s3://{bucket}/a").startswith(f"{f's3://{bucket}/a'!r} is not of the form s3://bucket/prefix")
    assert store.asked == []


def test_folders_that_tools_make_of_objects_are_no_objects(store: Answers) -> None:
    keys = "".join(
        f"<Contents><Key>{key}</Key><Size>{size}</Size></Contents>"
        for key, size in (("a/b/", 0), ("a/b/z", 2), ("a/b/c/", 0), ("a/b/c/d", 3))
    )
    store.body = f"<ListBucketResult>{keys}</ListBucketResult>".encode()
    with s3.opened("s3://models/a/b") as location:
        assert location.sizes() == {"z": 2, "c/d": 3}
        assert location.names() == ["c/d", "z"]
    assert "prefix=a%2Fb%2F" in store.asked[0][0]


def test_a_download_that_breaks_off_every_time_is_told(store: Answers, tmp_path: Path) -> None:
    store.body, store.missing = b"begins", 100
    place = f"bucket 'models' at http://{store.place}"
    with pytest.raises(BadInput, match=f"{place} cannot be used: Max Retries Exceeded"), s3.opened("s3://models") as at:
        at.download("x", tmp_path / "x")


def test_a_request_that_cannot_be_made_is_told(store: Answers) -> None:
    with pytest.raises(BadInput, match="cannot be used: Parameter validation failed"), s3.opened("s3://models") as at:
        at.delete("")
    assert store.asked == []


def test_a_store_that_ends_every_connection_is_not_reached(monkeypatch: pytest.MonkeyPatch, server: Answers) -> None:
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    use(monkeypatch, f"http://user:password@{server.place}")
    monkeypatch.setattr(Handler, "do_GET", lambda handler: setattr(handler, "close_connection", True))
    told = f"bucket 'models' at http://{server.place} cannot be reached (ConnectionClosedError); check AWS_ENDPOINT_URL"
    assert refused().startswith(told)


def test_an_endpoint_that_speaks_no_tls_is_told_apart_from_one_that_is_not_trusted(
    server: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer_in_plain_text(handler: Handler) -> None:
        handler.connection.recv(65536)
        handler.connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        handler.connection.recv(65536)  # until the client has read it: unread bytes would reset the connection

    monkeypatch.setattr(Handler, "handle", answer_in_plain_text)
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    use(monkeypatch, f"https://user:password@{server.place}")
    assert f"at https://{server.place} cannot be used with TLS (" in (told := refused())
    assert told.endswith("AWS_CA_BUNDLE, where it is set, is a PEM file with certificates")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Authority(tmp_path, "stranger").issue("store"))
    with Answers() as with_tls:
        with_tls.socket = context.wrap_socket(with_tls.socket, server_side=True)
        threading.Thread(target=with_tls.serve_forever, args=(0.01,), daemon=True).start()
        use(monkeypatch, f"https://user:password@{with_tls.place}")
        told = refused()
        with_tls.shutdown()
    assert f"at https://{with_tls.place} shows a certificate that is not trusted (certificate verify failed: " in told
    assert "); set AWS_CA_BUNDLE to a file with the certificate of the authority that signed it (" in told
