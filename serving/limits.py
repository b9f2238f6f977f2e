"""What the server accepts; anything beyond is refused before it costs compute."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one server. Each is an option of the command line; `slipway.serving.options` has their names."""

    texts: int = 256
    """Texts in one request."""
    characters: int = 100_000
    """Characters of one text; the tokenizer cuts to the model's maximum length only after it has read them all."""
    body: int = 2**20
    """Bytes of one request, over REST and gRPC alike. To parse a body of this size takes the event loop's time."""
    bytes_at_hand: int = 64 * 2**20
    """Bytes of all requests that are not answered yet; more are refused with 429. One identity may have half of it."""
    waiting: int = 2048
    """Texts admitted and not yet answered; more are refused with 429 at once."""
    batch_tokens: int = 2048
    """Tokens of one inference, padding included."""
    batch_padding: float = 0.2
    """Share of the tokens of one inference that may be padding."""
    batch_ms: float = 40.0
    """Milliseconds that one inference should take at most, by the pace of those before it."""
    explained_texts: int = 4
    """Texts in one request for explanations, each of which takes many inferences."""
    explained_words: int = 64
    """Words of one text with an attribution of their own; in a longer text neighbours share one."""
    explanation_inferences: int = 256
    """Inferences for the explanation of one text, about."""
    explaining: int = 4
    """Requests for explanations of one identity at the same time; more are refused with 429 at once."""
    concurrency: int = 1024
    """Texts that one identity may have at hand, a request counting as one at least; 0 for any number. A request is
    let through when no other is at hand, whatever it has."""
    rate: float = 0.0
    """Texts a second of one identity, an explanation counting as its inferences; 0 for any number."""
    burst: int = 0
    """Texts that one identity may send at once after a pause; 0 for what `rate` allows in a second."""
    connections: int = 4096
    """Open connections of each port, counted when they are accepted; beyond, those without a request make room."""
    header_seconds: float = 10.0
    """Until a connection has shown a whole head of a request, or a TLS or HTTP/2 handshake."""
    body_seconds: float = 30.0
    """From the end of the head to the end of the body."""
    send_seconds: float = 30.0
    """That a client may take to read what was sent to it."""
    idle_seconds: float = 65.0
    """Between two requests of a REST connection."""
