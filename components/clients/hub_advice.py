"""Says what to do about an error of a Hugging Face hub, by its cause."""

from slipway.components.clients.credentials import trust_advice


def hub_advice(error: BaseException | None) -> str:
    """What to do about an error of the hub's client, beginning with `; `; empty if the error does not say.

    A hub answers 401 also for a name that it does not know, which is another class of error.
    """
    if error is None:
        return ""
    kind = type(error).__name__
    if kind == "GatedRepoError":
        return "; accept its terms on the hub and set HF_TOKEN"
    if kind == "RepositoryNotFoundError":
        return ""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return "; the hub refuses HF_TOKEN: set a token that is good" if status in (401, 403) else trust_advice(error)
