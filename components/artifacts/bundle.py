"""Reads and writes bundles. A bundle is a folder with a model; it is signed, registered, served and rolled back as one.

    model.onnx       inputs input_ids, attention_mask: int64 (texts, tokens); output logits: float32 (texts, classes)
    tokenizer.json   Hugging Face tokenizers format
    bundle.json      labels, maximum length, precision, how it was made (`BundleInfo`)
    model-card.md    for people                                   (written by the step register)
    signature.json   OpenSSF model signature over all the rest    (written by the step register)

The step compress writes a draft, without model card and signature. The first three files may be encrypted: see
`slipway.components.artifacts.encryption`.
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slipway.components import formats
from slipway.components.artifacts.encryption import ENVELOPE, SUFFIX, BundleKey, Decryption, default_key
from slipway.components.artifacts.normalisation import Normalisation
from slipway.components.artifacts.privacy_guarantee import Privacy
from slipway.components.errors import BadInput, BundleRefused

MODEL, TOKENIZER, INFO, CARD, SIGNATURE = (
    "model.onnx",
    "tokenizer.json",
    "bundle.json",
    "model-card.md",
    "signature.json",
)
DRAFT_FILES = (MODEL, TOKENIZER, INFO)
FORMAT = 2
"""Newest format of `bundle.json`; see `slipway.components.formats`."""
SINCE_2 = ("padding_id", "normalisation")
"""Fields without which a server would answer wrongly. A bundle in which they have their defaults has the format 1."""


class Bins(BaseModel):
    """A histogram: `counts[i]` values are above `bounds[i - 1]` and at most `bounds[i]`, the last above all bounds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bounds: list[float]
    counts: list[int]


class BundleInfo(BaseModel):
    """The content of `bundle.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    format: int = 1
    model_name: str
    labels: list[str] = Field(min_length=2)
    max_length: int = Field(ge=8)
    """Most tokens of a text; longer texts are cut."""
    padding_id: int = Field(default=0, ge=0)
    """Id of the token that fills the shorter texts of a batch."""
    normalisation: Normalisation = ""
    """What was done to the training texts, and is done to those of requests; see
    `slipway.components.artifacts.normalisation`."""
    precision: str
    """`fp32` or `int8`."""
    variant: str
    """How it was compressed, for example `student-3x384+int8`."""
    encoder: str
    dataset_digest: str
    code_version: str
    run: str = ""
    """The pipeline run that made the bundle."""
    mlflow_run_id: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Shares from 0 to 1, named split_metric, for example `test_macro_f1`."""
    latency_ms: dict[str, float] = Field(default_factory=dict)
    """Median latency in milliseconds by batch size, on the machine that ran the step."""
    reference: dict[str, Bins] = Field(default_factory=dict)
    """Histograms over the validation split, to measure drift; see `slipway.components.artifacts.drift_reference`."""
    privacy: Privacy | None = None
    """The guarantee of differential privacy; None if the training gave none."""


class Bundle:
    """A bundle or draft, opened for reading. It is not verified here: see `slipway.components.artifacts.signing`.

    Args:
        folder: folder of the bundle.
        key: opens an encrypted bundle at the first read; None for the key in the environment.
        contents: the files as `contents_of` returns them. The folder is then not read again, so that the bytes that
            were verified are the bytes that are loaded. None to read each file when it is needed.

    Raises:
        BadInput: a file is missing, or `bundle.json` is not as expected.
    """

    def __init__(
        self, folder: str | Path, key: BundleKey | None = None, contents: Mapping[str, bytes] | None = None
    ) -> None:
        self.folder = Path(folder)
        self._key, self._contents = key, contents
        self.encrypted = self._has(ENVELOPE)
        missing = [name for name in map(self._stored, DRAFT_FILES) if not self._has(name)]
        if missing:
            raise BadInput(f"{self.folder} is not a bundle: it lacks {', '.join(missing)}")
        if not self.encrypted:
            _ = self.info  # so that a bad `bundle.json` is reported here, and not at the first use

    @cached_property
    def info(self) -> BundleInfo:
        """The content of `bundle.json`. Raises as `read`, and BadInput if it is not valid or of a later format."""
        content = self.read(INFO)
        formats.check(self.folder / INFO, content, FORMAT)
        try:
            return BundleInfo.model_validate_json(content)
        except ValidationError as error:
            raise BadInput(f"{self.folder / INFO} is not as expected: {error}") from error

    def read(self, name: str) -> bytes:
        """The content of one of `DRAFT_FILES`, decrypted if it is encrypted.

        Raises:
            BundleRefused: the key is missing or belongs to another bundle, or the file was altered or exchanged.
            BadInput: the key cannot be used, or the file cannot be read.
        """
        if self.encrypted:
            return self._decryption.read(name)
        return self._bytes(name)

    @cached_property
    def _decryption(self) -> Decryption:
        return Decryption(self.folder, self._key or default_key(), self._bytes)

    def _bytes(self, stored: str) -> bytes:
        """The bytes of a file by its name in the folder, not decrypted."""
        if self._contents is not None:
            return self._contents[stored]
        try:
            return (self.folder / stored).read_bytes()
        except OSError as error:
            raise BadInput(f"{self.folder / stored} cannot be read: {error.strerror}") from error

    def _has(self, stored: str) -> bool:
        return (self.folder / stored).is_file() if self._contents is None else stored in self._contents

    def _stored(self, name: str) -> str:
        """The name in the folder of one of `DRAFT_FILES`."""
        return name + SUFFIX * self.encrypted

    def release(self) -> None:
        """Free the memory of the contents. Afterwards only `info` can be read."""
        _ = self.info
        self._contents = self._contents and {}

    @property
    def size(self) -> int:
        """Bytes of the model and the tokenizer."""
        return sum((self.folder / self._stored(name)).stat().st_size for name in (MODEL, TOKENIZER))

    def digest(self) -> str:
        """`sha256:…` over the names and contents of all files except the signature.

        Raises:
            BadInput: the folder, or something in it, cannot be read as a file.
        """
        whole = hashlib.sha256()
        try:
            names = [path.name for path in self.folder.iterdir()] if self._contents is None else self._contents
        except OSError as error:
            raise BadInput(f"the bundle {self.folder} cannot be read: {error.strerror}") from error
        for name in sorted(names):
            if name != SIGNATURE:
                content = hashlib.sha256(self._bytes(name)).hexdigest()
                whole.update(json.dumps([name, content]).encode())
        return f"sha256:{whole.hexdigest()}"


def contents_of(folder: Path) -> dict[str, bytes]:
    """Read all files of a bundle, each once; returns the contents by name. A later change of a file has no effect.

    Raises:
        BundleRefused: the folder does not exist, or something in it is not a plain file that can be read.
    """
    if not folder.is_dir():
        raise BundleRefused(f"{folder} is not a folder")
    return {path.name: _plain(path) for path in sorted(folder.iterdir())}


def _plain(path: Path) -> bytes:
    """The content of a plain file. Links, folders and devices are refused.

    The check is made on the opened file. Between a check of the path and the opening, the file could be exchanged.
    """
    refusal = f"{path} is a link, a folder or a device; a bundle has plain files only"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # to open a named pipe would block
    except OSError as error:
        raise BundleRefused(refusal if path.is_symlink() else f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BundleRefused(refusal)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def write_info(folder: str | Path, info: BundleInfo) -> None:
    """Write `bundle.json`, without the fields that are None, in the earliest format that says all."""
    needed = {name for name in SINCE_2 if getattr(info, name)}
    content = info.model_dump(exclude_none=True, exclude=set(SINCE_2) - needed)
    content["format"] = FORMAT if needed else 1
    (Path(folder) / INFO).write_text(json.dumps(content, indent=1, ensure_ascii=False), "utf-8")


def updated_info(info: BundleInfo, **changes: Any) -> BundleInfo:
    """A copy of the info with changed values, validated."""
    return BundleInfo.model_validate(info.model_dump() | changes)
