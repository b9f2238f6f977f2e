"""Names of things that come from elsewhere: a registry's tags, an InferenceService's annotations, artifacts of a run.

Whoever may write there must not choose a path, a label or an argument. So each value is looked at where it enters.
"""

import re

from slipway.components.errors import BadInput

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
VERSION = re.compile(r"[1-9][0-9]{0,9}")
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
S3 = "s3://"


def digest(value: str, source: str) -> str:
    """A bundle's digest. Raises BadInput, which names `source`, when it is none."""
    return _fitting(DIGEST, value, source, "a digest: sha256: and 64 hexadecimal digits")


def version(value: str, source: str) -> str:
    """The number of a registered version. Raises as `digest`."""
    return _fitting(VERSION, value, source, "the number of a version")


def bundle_uri(value: str, source: str) -> str:
    """Where a bundle is stored: a folder, or `s3://bucket/prefix`. Raises as `digest`."""
    place = value.removeprefix(S3)
    if not value or "://" in place or UNPRINTABLE.search(value) or ".." in place.split("/"):
        raise _refusal(value, source, "a folder or s3://bucket/prefix, without '..'")
    if value.startswith(S3) and not all(place.partition("/")[::2]):
        raise _refusal(value, source, "s3://bucket/prefix")
    return value


def _fitting(form: re.Pattern[str], value: str, source: str, expected: str) -> str:
    if not form.fullmatch(value):
        raise _refusal(value, source, expected)
    return value


def _refusal(value: str, source: str, expected: str) -> BadInput:
    return BadInput(f"{source} is {value[:100]!r}; expected {expected}. Somebody altered it: put the true one back")
