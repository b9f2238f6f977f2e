"""The limits of a model server. A request beyond them is refused before it costs compute."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of one server. Each is a command-line option; `slipway.serving.options` has their names."""

    texts: int = 256
    """Texts in one request."""
    characters: int = 100_000
    """Characters of one text. The tokenizer cuts to the model's maximum length only after it has read the whole text,
    so a long text costs time even if the model reads little of it."""
    body: int = 2**20
    """Bytes of the body of one request, over REST and gRPC alike."""
    bytes_at_hand: int = 64 * 2**20
    """Bytes of all requests that are not answered yet; more are refused with 429. One identity may have half of it."""
    waiting: int = 2048
    """Texts that are admitted and not answered yet; more are refused with 429 at once."""
    batch_tokens: int = 2048
    """Tokens of one inference, padding included."""
    batch_padding: float = 0.2
    """Share of the tokens of one inference that may be padding."""
    batch_ms: float = 40.0
    """Milliseconds that one inference should take at most, estimated from the recent time per token."""
    explained_texts: int = 4
    """Texts in one request for explanations, each of which takes many inferences."""
    explained_words: int = 64
    """Words of one text that get an attribution of their own. In a longer text neighbouring words share one."""
    explanation_inferences: int = 256
    """Approximate number of inferences for the explanation of one text."""
    explaining: int = 4
    """Requests for explanations that one identity may have at hand; more are refused with 429 at once."""
    concurrency: int = 1024
    """Texts that one identity may have at hand; 0 for any number. A request counts as one text at least. The only
    request of an identity is admitted with any number of texts."""
    rate: float = 0.0
    """Texts a second of one identity; 0 for any number. An explanation counts as its number of inferences."""
    burst: int = 0
    """Texts that one identity may send at once after a pause; 0 for what `rate` allows in a second."""
    connections: int = 4096
    """Open connections of each port, counted from accept. Beyond this number, connections without a request are closed
    to make room."""
    header_seconds: float = 10.0
    """Time until the whole head of a request has arrived, or a TLS or HTTP/2 handshake is done."""
    body_seconds: float = 30.0
    """Time from the end of the head to the end of the body."""
    send_seconds: float = 30.0
    """Time that a client may take to read what was sent to it."""
    idle_seconds: float = 65.0
    """Time between two requests of a REST connection."""
