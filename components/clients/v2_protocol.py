"""Builds requests of the V2 inference protocol for texts, and reads the responses; for all clients.

This module knows only the format. It has no connection, so that it works with every HTTP library and with gRPC.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from slipway.components.errors import BadInput

TEXT = "text"
"""Name of the input tensor."""
LENGTH = struct.Struct("<I")
"""The length before each element of a BYTES tensor in raw form."""
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError)
"""The errors of reading a response with an unexpected format."""


class Prediction(NamedTuple):
    """The prediction for one text."""

    label: str
    score: float
    """Probability of `label`."""
    probabilities: dict[str, float]
    """Probability of every label."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions for several texts, in their order. Its length is their number, its items are `Prediction`s."""

    labels: npt.NDArray[np.str_]
    """The most probable label of each text, shape (texts,)."""
    probabilities: npt.NDArray[np.float32]
    """Shape (texts, classes)."""
    classes: tuple[str, ...]
    """Names of the columns of `probabilities`."""
    model_version: str
    """The version of the model that answered."""
    bundle_digest: str
    """The digest of the bundle that answered, `sha256:…`."""

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """The probability of each text's label, shape (texts,)."""
        columns = [self.classes.index(label) for label in self.labels]
        return self.probabilities[np.arange(len(columns)), columns]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Prediction:
        row = dict(zip(self.classes, self.probabilities[index].tolist(), strict=True))
        label = str(self.labels[index])
        return Prediction(label, row[label], row)

    def __iter__(self) -> Iterator[Prediction]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True, eq=False)
class Explanation:
    """Which words of a text speak for one label: Shapley values over masking."""

    label: str
    score: float
    """Probability of the label."""
    words: tuple[str, ...]
    attributions: npt.NDArray[np.float64]
    """What each word adds to the label's logit, shape (words,). They sum to `logit` minus `baseline`."""
    errors: npt.NDArray[np.float64]
    """Standard errors of the attributions, shape (words,): 0 if exact, NaN if unknown."""
    logit: float
    """Logit of the label for the text."""
    baseline: float
    """Logit of the label with every word masked."""
    inferences: int
    """Number of inferences for this explanation."""
    cut: bool
    """Whether the text is longer than what the model reads."""

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Make it from the JSON object in a response. Raises one of `UNREADABLE` if the format is another."""
        return cls(
            label=str(content["label"]),
            score=float(content["score"]),
            words=tuple(content["words"]),
            attributions=np.array(content["attributions"], dtype=np.float64),
            errors=np.array(content["errors"], dtype=np.float64),  # null becomes NaN
            logit=float(content["logit"]),
            baseline=float(content["baseline"]),
            inferences=int(content["inferences"]),
            cut=bool(content["cut"]),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, as in a response."""
        errors = [None if np.isnan(error) else error for error in self.errors.tolist()]
        arrays = {"words": list(self.words), "attributions": self.attributions.tolist(), "errors": errors}
        return vars(self) | arrays


class Answer:
    """The JSON response to an inference request. Its properties raise one of `UNREADABLE` if the format is another."""

    def __init__(self, content: Any) -> None:
        self._content = content

    @property
    def labels(self) -> list[str]:
        """The most probable label of each text."""
        return [str(label) for label in self._output("label")["data"]]

    @property
    def bundle_digest(self) -> str:
        """The digest of the bundle that answered."""
        return str(self._content["parameters"]["bundle_digest"])

    @property
    def predictions(self) -> Predictions:
        """The predictions for all texts."""
        output = self._output("probabilities")
        origin = (str(self._content["model_version"]), self.bundle_digest)
        return predictions(self.labels, output["data"], output["parameters"]["labels"], *origin)

    @property
    def explanations(self) -> list[Explanation]:
        """The explanations of a request with one text, one for each requested label, the most probable first."""
        return [Explanation.from_json(json.loads(element)) for element in self._output("explanation")["data"]]

    def _output(self, name: str) -> dict[str, Any]:
        outputs: dict[str, dict[str, Any]] = {output["name"]: output for output in self._content["outputs"]}
        return outputs[name]


def predictions(labels: Sequence[str], flat: Iterable[float], names: str, version: str, digest: str) -> Predictions:
    """Make predictions from the tensors of a response.

    Args:
        labels: the label of each text.
        flat: the probabilities, row by row.
        names: JSON list of the class names.
        version: version of the model that answered.
        digest: digest of the bundle that answered.

    Raises:
        ValueError: the tensors do not fit each other.
    """
    classes = tuple(map(str, json.loads(names)))
    rows = np.array(flat, dtype=np.float32).reshape(len(labels), len(classes))
    if unknown := set(labels) - set(classes):
        raise ValueError(f"labels {sorted(unknown)} are none of {classes}")
    return Predictions(np.array(labels, dtype=np.str_), rows, classes, version, digest)


def path(model: str, what: str = "") -> str:
    """The path of a model at a server; `what` is `infer`, `ready`, or empty for its metadata."""
    return f"/v2/models/{quote(model, safe='')}{f'/{what}' if what else ''}"


def infer_request(texts: Sequence[str], **parameters: Any) -> dict[str, Any]:
    """The JSON body of a request for texts; `parameters` are those of the request, such as `explain`."""
    tensor = {"name": TEXT, "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}
    return {"inputs": [tensor]} | ({"parameters": parameters} if parameters else {})


def checked(texts: str | Iterable[str]) -> list[str]:
    """The texts as a list; a single text becomes a list of one.

    Raises:
        BadInput: an item is not a text, or not valid Unicode (Python decodes other bytes on a command line to lone
            surrogates).
    """
    listed = [texts] if isinstance(texts, str) else list(texts)
    for number, text in enumerate(listed):
        if not isinstance(text, str):
            raise BadInput(f"text {number} is a {type(text).__name__}; expected a string")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise BadInput(f"the text {text!r} is not valid Unicode; give texts in UTF-8") from error
    return [str(text) for text in listed]


def bytes_elements(raw: bytes, count: int) -> list[bytes]:
    """The elements of a BYTES tensor in raw form: each has its length before it, in 4 bytes, little-endian.

    Args:
        raw: the whole tensor.
        count: number of elements that there must be. Reading stops after them, even if there are more.

    Raises:
        ValueError: there are fewer or more, or the last one is cut.
    """
    elements: list[bytes] = []
    position = 0
    for _ in range(count):
        start = position + LENGTH.size
        if start > len(raw):
            raise ValueError(f"{len(elements)} elements, expected {count}")
        (length,) = LENGTH.unpack_from(raw, position)
        position = start + length
        elements.append(raw[start:position])
    if position != len(raw):
        raise ValueError(f"{len(raw)} bytes, expected {position} for {count} elements")
    return elements
