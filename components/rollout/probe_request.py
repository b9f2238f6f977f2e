"""One text as a request of the V2 inference protocol, and what its answer says, wherever a rollout asks."""

import json
from typing import Any, NamedTuple

from slipway.components.rollout.target import Revision

OK = 200
COMPARISON = {"x-slipway-source": "comparison"}
"""A rollout's questions are no client's: the model servers count them apart, and leave them out of drift."""


def question(text: str) -> dict[str, Any]:
    """The body of a request for one text."""
    return {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}


class Reply(NamedTuple):
    """What an answer says."""

    label: str
    """Of the one text."""
    digest: str
    """Of the bundle that answered."""


def reply_of(status: int, body: bytes) -> Reply | None:
    """What an answer says; None when the prediction failed."""
    if status != OK:
        return None
    try:
        told = json.loads(body)
        outputs = {output["name"]: output["data"] for output in told["outputs"]}
        return Reply(str(outputs["label"][0]), str(told["parameters"]["bundle_digest"]))
    except (ValueError, LookupError, TypeError):
        return None


def label_of(reply: Reply | None, revision: Revision) -> str | None:
    """The label, if it is an answer of the revision; what another bundle says in its place is none."""
    return reply.label if reply and reply.digest == revision.digest else None


def foreign(reply: Reply | None, revision: Revision) -> str | None:
    """That another bundle than the revision's answered, in words; None when none did."""
    if reply is None or reply.digest == revision.digest:
        return None
    return (
        f"the server of version {revision.version} answers with the bundle {reply.digest[:100]}; registered was "
        f"{revision.digest}"
    )
