"""What a registry, an InferenceService or a run says is a digest, a version or a place only if it looks like one."""

from pathlib import Path

import pytest

from slipway.components.errors import BadInput
from slipway.components.platforms import identifiers
from slipway.components.rollout import bundles
from slipway.components.rollout.kserve import record

GOOD = f"sha256:{'a' * 64}"
BAD_DIGESTS = [
    "",
    "sha256:",
    "sha256:../../elsewhere",
    "a" * 64,
    GOOD.upper(),
    GOOD + "0",
    GOOD + "\n",
    f"sha256:{'/' * 64}",
]
BAD_VERSIONS = ["", "0", "-1", "1 --allow_unsigned", "1\n", "../1", "１", "9" * 11]
BAD_URIS = [
    "",
    "s3://",
    "s3://bucket",
    "s3://bucket/",
    "s3://bucket/a/../b",
    "/bundles/../../etc",
    "http://host/a",
    "a\nb",
]


def test_what_looks_right_is_taken() -> None:
    assert identifiers.digest(GOOD, "here") == GOOD
    assert identifiers.version("12", "here") == "12"
    for uri in ("s3://bucket/bundles/one", "/bundles/a folder..", "bundles/one"):
        assert identifiers.bundle_uri(uri, "here") == uri


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("digest", value) for value in BAD_DIGESTS),
        *(("version", value) for value in BAD_VERSIONS),
        *(("bundle_uri", value) for value in BAD_URIS),
    ],
)
def test_what_looks_wrong_is_refused_and_its_source_named(kind: str, value: str) -> None:
    with pytest.raises(BadInput, match="the tag is "):
        getattr(identifiers, kind)(value, "the tag")


def test_a_digest_that_leads_out_of_the_service_writes_nothing(draft_bundle: Path, tmp_path: Path) -> None:
    service, elsewhere = tmp_path / "home" / "service", tmp_path / "elsewhere"
    with pytest.raises(BadInput, match="expected a digest"):
        bundles.fetch(str(draft_bundle), "sha256:../../../elsewhere", service)
    assert not elsewhere.exists()
    assert not service.exists()


@pytest.mark.parametrize(
    ("part", "value"), [("version", "1,x=y"), ("digest", "sha256:../x"), ("bundle", "s3://bucket/../other")]
)
def test_an_annotation_that_was_altered_is_refused_and_named(part: str, value: str) -> None:
    good = {"version": "1", "digest": GOOD, "bundle": "s3://bucket/one"}
    found = {f"slipway.dev/champion-{name}": given for name, given in (good | {part: value}).items()}
    with pytest.raises(BadInput, match=f"the annotation slipway.dev/champion-{part} is "):
        record.read(found, 0)
