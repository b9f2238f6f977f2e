"""Validates names from outside: tags of the registry, annotations of an InferenceService, artifacts of a run.

Others may write there, and their values become paths, labels and arguments. So each value is checked where it is read.
"""

import re

from slipway.components.errors import BadInput

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
VERSION = re.compile(r"[1-9][0-9]{0,9}")
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
S3 = "s3://"


def digest(value: str, source: str) -> str:
    """Return `value` if it is a bundle's digest; else raises BadInput, whose message names `source`."""
    return _matching(DIGEST, value, source, "a digest: sha256: and 64 hexadecimal digits")


def version(value: str, source: str) -> str:
    """Return `value` if it is the number of a registered version. Raises as `digest`."""
    return _matching(VERSION, value, source, "the number of a version")


def bundle_uri(value: str, source: str) -> str:
    """Return `value` if it is where a bundle can be stored: a folder, or `s3://bucket/prefix`. Raises as `digest`."""
    location = value.removeprefix(S3)
    if not value or "://" in location or UNPRINTABLE.search(value) or ".." in location.split("/"):
        raise _refusal(value, source, "a folder or s3://bucket/prefix, without '..'")
    if value.startswith(S3) and not all(location.partition("/")[::2]):
        raise _refusal(value, source, "s3://bucket/prefix")
    return value


def _matching(pattern: re.Pattern[str], value: str, source: str, expected: str) -> str:
    if not pattern.fullmatch(value):
        raise _refusal(value, source, expected)
    return value


def _refusal(value: str, source: str, expected: str) -> BadInput:
    return BadInput(f"{source} is {value[:100]!r}; expected {expected}. Somebody altered it: put the true one back")
