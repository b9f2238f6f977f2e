"""The V2 inference protocol as one who asks speaks it: a request for texts, and what its answer says.

Only the form is known here, no connection: whoever asks a model server, over whatever way, builds requests and reads
answers with this module.
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
"""The input tensor."""
LENGTH = struct.Struct("<I")
"""Before each element of a BYTES tensor in raw form."""
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError)
"""What reading an answer raises that has another form."""


class Prediction(NamedTuple):
    """The answer for one text."""

    label: str
    score: float
    """Probability of `label`."""
    probabilities: dict[str, float]
    """Of every label."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The answer for several texts, in their order. It has a length and is iterated over as a `Prediction` a text."""

    labels: npt.NDArray[np.str_]
    """The most probable label of each text, shape (texts,)."""
    probabilities: npt.NDArray[np.float32]
    """Shape (texts, classes)."""
    classes: tuple[str, ...]
    """Names of the columns of `probabilities`."""
    model_version: str
    """The version that answered."""
    bundle_digest: str
    """Of the bundle that answered, `sha256:…`."""

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
    """Standard errors of the attributions, shape (words,): 0 where they are exact, NaN where nothing is known."""
    logit: float
    """Of the label for the text."""
    baseline: float
    """The same with every word masked."""
    inferences: int
    """How many inferences it took."""
    cut: bool
    """Whether the text goes on, beyond what the model reads."""

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """From the object that a model server answers with. Raises `UNREADABLE` for one of another form."""
        return cls(
            label=str(told["label"]),
            score=float(told["score"]),
            words=tuple(told["words"]),
            attributions=np.array(told["attributions"], dtype=np.float64),
            errors=np.array(told["errors"], dtype=np.float64),  # null becomes NaN
            logit=float(told["logit"]),
            baseline=float(told["baseline"]),
            inferences=int(told["inferences"]),
            cut=bool(told["cut"]),
        )

    def to_json(self) -> dict[str, Any]:
        """The object that it was made from."""
        errors = [None if np.isnan(error) else error for error in self.errors.tolist()]
        arrays = {"words": list(self.words), "attributions": self.attributions.tolist(), "errors": errors}
        return vars(self) | arrays


class Answer:
    """The JSON answer to an inference request. Its properties raise one of `UNREADABLE` where it has another form."""

    def __init__(self, content: Any) -> None:
        self._content = content

    @property
    def labels(self) -> list[str]:
        """The most probable label of each text."""
        return [str(label) for label in self._output("label")["data"]]

    @property
    def bundle_digest(self) -> str:
        """Of the bundle that answered."""
        return str(self._content["parameters"]["bundle_digest"])

    @property
    def predictions(self) -> Predictions:
        """All that it says of the texts."""
        found = self._output("probabilities")
        origin = (str(self._content["model_version"]), self.bundle_digest)
        return predictions(self.labels, found["data"], found["parameters"]["labels"], *origin)

    @property
    def explanations(self) -> list[Explanation]:
        """Of the one text: of each label that was asked for, the most probable first."""
        return [Explanation.from_json(json.loads(told)) for told in self._output("explanation")["data"]]

    def _output(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = {output["name"]: output for output in self._content["outputs"]}[name]
        return found


def predictions(labels: Sequence[str], flat: Iterable[float], names: str, version: str, digest: str) -> Predictions:
    """Put the tensors of an answer together.

    Args:
        labels: of each text.
        flat: probabilities, row by row.
        names: JSON list of the classes.
        version: of the model that answered.
        digest: of the bundle that answered.

    Raises:
        ValueError: the tensors do not fit each other.
    """
    classes = tuple(map(str, json.loads(names)))
    rows = np.array(flat, dtype=np.float32).reshape(len(labels), len(classes))
    if unknown := set(labels) - set(classes):
        raise ValueError(f"labels {sorted(unknown)} are none of {classes}")
    return Predictions(np.array(labels, dtype=np.str_), rows, classes, version, digest)


def path(model: str, what: str = "") -> str:
    """Path of a model at a server; `what` is `infer`, `ready`, or empty for its metadata."""
    return f"/v2/models/{quote(model, safe='')}{f'/{what}' if what else ''}"


def infer_request(texts: Sequence[str], **parameters: Any) -> dict[str, Any]:
    """The JSON body of a request for texts; `parameters` are those of the request, such as `explain`."""
    tensor = {"name": TEXT, "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}
    return {"inputs": [tensor]} | ({"parameters": parameters} if parameters else {})


def checked(texts: str | Iterable[str]) -> list[str]:
    """The texts as a list; one text stands for a list of one.

    Raises:
        BadInput: one is no text, or no Unicode (a command line passes other bytes on as lone surrogates).
    """
    found = [texts] if isinstance(texts, str) else list(texts)
    for number, text in enumerate(found):
        if not isinstance(text, str):
            raise BadInput(f"text {number} is a {type(text).__name__}; expected a string")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise BadInput(f"the text {text!r} is not valid Unicode; give texts in UTF-8") from error
    return [str(text) for text in found]


def bytes_elements(raw: bytes, count: int) -> list[bytes]:
    """The elements of a BYTES tensor in raw form: each has its length before it, in 4 bytes, little-endian.

    Args:
        raw: the whole tensor.
        count: how many there must be; no time is spent on more.

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
