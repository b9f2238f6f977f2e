"""The requests that a rollout itself sends to a revision, and how their responses are read, on every target."""

import json
from typing import NamedTuple

from slipway.components.clients.v2_protocol import UNREADABLE, Answer
from slipway.components.rollout.target import Revision

OK = 200
COMPARISON = {"x-slipway-source": "comparison"}
"""Header that marks a rollout's own requests. Model servers count them separately and leave them out of drift."""


class Reply(NamedTuple):
    """The prediction in a response."""

    label: str
    """Predicted label of the one text."""
    digest: str
    """Digest of the bundle that answered."""


def reply_of(status: int, body: bytes) -> Reply | None:
    """Read the body of a response; None when the prediction failed or the body cannot be read."""
    if status != OK:
        return None
    try:
        answer = Answer(json.loads(body))
        return Reply(answer.labels[0], answer.bundle_digest)
    except UNREADABLE:
        return None


def label_of(reply: Reply | None, revision: Revision) -> str | None:
    """The label, if the revision's own bundle answered; None otherwise."""
    return reply.label if reply and reply.digest == revision.digest else None


def foreign(reply: Reply | None, revision: Revision) -> str | None:
    """A sentence that says that another bundle than the revision's answered; None when that is not so."""
    if reply is None or reply.digest == revision.digest:
        return None
    return (
        f"the server of version {revision.version} answers with the bundle {reply.digest[:100]}; registered was "
        f"{revision.digest}"
    )
