"""What the server accepts; anything beyond is refused before it costs compute."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one server."""

    texts: int = 256
    """Texts in one request."""
    characters: int = 100_000
    """Characters of one text; the tokenizer cuts to the model's maximum length only after it has read them all."""
    body: int = 8 * 2**20
    """Bytes of one request, over REST and gRPC alike."""
    waiting: int = 2048
    """Texts admitted and not yet answered; more are refused with 429 at once."""
    batch_tokens: int = 2048
    """Tokens of one inference, padding included."""
