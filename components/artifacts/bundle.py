"""The bundle: what is served, and the unit that is signed, registered, rolled out and rolled back.

    model.onnx       inputs input_ids, attention_mask: int64 (texts, tokens); output logits: float32 (texts, classes)
    tokenizer.json   Hugging Face tokenizers format
    bundle.json      labels, maximum length, precision, how it was made (`BundleInfo`)
    model-card.md    for people                                   (written by the step register)
    signature.json   OpenSSF model signature over all the rest    (written by the step register)

The step compress writes a draft, without card and signature. The first three may be encrypted: see
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
FORMAT = 1
"""Of `bundle.json`; see `slipway.components.formats`."""


class Bins(BaseModel):
    """A histogram: `counts[i]` values are at most `bounds[i]` and above `bounds[i - 1]`, the last above all bounds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bounds: list[float]
    counts: list[int]


class BundleInfo(BaseModel):
    """The content of `bundle.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    format: int = FORMAT
    model_name: str
    labels: list[str] = Field(min_length=2)
    max_length: int = Field(ge=8)
    """Tokens; longer texts are cut."""
    precision: str
    """`fp32` or `int8`."""
    variant: str
    """How it was compressed, for example `student-3x384+int8`."""
    encoder: str
    dataset_digest: str
    code_version: str
    run: str = ""
    """The pipeline run that made it."""
    mlflow_run_id: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Shares from 0 to 1, named split_metric, for example `test_macro_f1`."""
    latency_ms: dict[str, float] = Field(default_factory=dict)
    """Median milliseconds on the machine that measured, by batch size."""
    reference: dict[str, Bins] = Field(default_factory=dict)
    """How the validation split looks to the model, against drift; see
    `slipway.components.artifacts.drift_reference`.
    """
    privacy: Privacy | None = None
    """What the weights may tell of a training text; absent when nothing is promised."""


class Bundle:
    """A bundle or draft, opened for reading. Nothing is verified here: see `slipway.components.artifacts.signing`.

    Args:
        folder: where it is.
        key: opens it if it is encrypted, once something in it is read; None for that of the environment.
        contents: what `contents_of` found in the folder, which is then not looked at again: what was verified is what
            is loaded. None reads the files whenever they are asked for.

    Raises:
        BadInput: a file is missing or `bundle.json` is not as expected.
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
            _ = self.info  # found out now

    @cached_property
    def info(self) -> BundleInfo:
        """What `bundle.json` says. Raises BadInput when it is not as expected or too new, and as `read`."""
        content = self.read(INFO)
        formats.check(self.folder / INFO, content, FORMAT)
        try:
            return BundleInfo.model_validate_json(content)
        except ValidationError as error:
            raise BadInput(f"{self.folder / INFO} is not as expected: {error}") from error

    def read(self, name: str) -> bytes:
        """The content of one of `DRAFT_FILES`, decrypted in memory if need be.

        Raises:
            BundleRefused: the key is missing or of another bundle, or the file was altered or put in another's place.
            BadInput: the key cannot be used, or the file cannot be read.
        """
        if self.encrypted:
            return self._decryption.read(name)
        return self._bytes(name)

    @cached_property
    def _decryption(self) -> Decryption:
        return Decryption(self.folder, self._key or default_key(), self._bytes)

    def _bytes(self, stored: str) -> bytes:
        """What a file holds, encrypted or not."""
        if self._contents is not None:
            return self._contents[stored]
        try:
            return (self.folder / stored).read_bytes()
        except OSError as error:
            raise BadInput(f"{self.folder / stored} cannot be read: {error.strerror}") from error

    def _has(self, stored: str) -> bool:
        return (self.folder / stored).is_file() if self._contents is None else stored in self._contents

    def _stored(self, name: str) -> str:
        """The name of the file that holds one of `DRAFT_FILES`."""
        return name + SUFFIX * self.encrypted

    def release(self) -> None:
        """Free the contents that were given; what `info` says stays, nothing can be read any more."""
        _ = self.info
        self._contents = self._contents and {}

    @property
    def size(self) -> int:
        """Bytes of the model and the tokenizer."""
        return sum((self.folder / self._stored(name)).stat().st_size for name in (MODEL, TOKENIZER))

    def digest(self) -> str:
        """`sha256:…` over the names and contents of all files but the signature.

        Raises:
            BadInput: something in the folder is no file that can be read.
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
    """All files of a bundle by name, each read once: whoever exchanges one later exchanges nothing.

    Raises:
        BundleRefused: there is no such folder, or something in it is not a plain file that can be read.
    """
    if not folder.is_dir():
        raise BundleRefused(f"{folder} is not a folder")
    return {path.name: _plain(path) for path in sorted(folder.iterdir())}


def _plain(path: Path) -> bytes:
    """The content of a file that is no link. What was opened is looked at: a path may mean something else by then."""
    what = f"{path} is a link, a folder or a device; a bundle has plain files only"
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe must not make us wait
    except OSError as error:
        raise BundleRefused(what if path.is_symlink() else f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise BundleRefused(what)
    with os.fdopen(number, "rb") as file:
        return file.read()


def write_info(folder: str | Path, info: BundleInfo) -> None:
    """Write `bundle.json`; what is None is left out."""
    (Path(folder) / INFO).write_text(
        json.dumps(info.model_dump(exclude_none=True), indent=1, ensure_ascii=False), "utf-8"
    )


def updated_info(info: BundleInfo, **changes: Any) -> BundleInfo:
    """The info with other values, validated."""
    return BundleInfo.model_validate(info.model_dump() | changes)
