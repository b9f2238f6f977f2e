"""`slipway explain`: which words of a text speak for the label that the served model gives it."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from slipway.components.clients.v2_client import Client
from slipway.components.clients.v2_protocol import Explanation
from slipway.components.errors import BadInput
from slipway.components.explanation.class_explanation import ClassExplanation
from slipway.components.explanation.picture import document, sentence, tints

PICTURE = "explanation.html"
STRONGEST = 5


def given_texts(texts: list[str]) -> list[str]:
    """The texts of the command line, or of standard input.

    Raises:
        BadInput: standard input is not UTF-8.
    """
    if texts != ["-"]:
        return texts
    try:
        return [line.rstrip("\n") for line in sys.stdin if line.strip()]
    except UnicodeDecodeError as error:
        raise BadInput(f"standard input is not UTF-8 ({error.reason} at byte {error.start}); convert it") from None


def explain(client: Client, texts: Sequence[str], top: int, picture: Path, console: Console) -> None:
    """Ask for explanations, show them in colour and write the picture.

    Raises:
        BadInput: the server refused a text, or the picture cannot be written.
        SlipwayError: no answer.
    """
    explanations = [[_filed(told) for told in labels] for labels in client.explain(texts, top)]
    for text, labels in zip(texts, explanations, strict=True):
        for told in labels:
            show(told, console)
        if text != texts[-1]:
            console.print()
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_text(document(texts, explanations), "utf-8")
    except OSError as error:
        raise BadInput(f"the picture {picture} cannot be written ({error.strerror}); give another path") from error
    console.print(f"picture: {picture}", highlight=False, soft_wrap=True)


def _filed(told: Explanation) -> ClassExplanation:
    return ClassExplanation.model_validate(told.to_json())


def as_json(client: Client, texts: Sequence[str], top: int) -> str:
    """The explanations for scripts. Raises as `explain`."""
    rows = [
        {"text": text, "explanations": [told.to_json() for told in labels]}
        for text, labels in zip(texts, client.explain(texts, top), strict=True)
    ]
    return json.dumps(rows, ensure_ascii=False)


def show(told: ClassExplanation, console: Console) -> None:
    """Print one label with the tinted words, and the strongest of them by name."""
    line = Text(f"{told.label} {told.score or 0:.3f}  ", "bold")
    for word, _, (red, green, blue) in tints(told):
        line.append(word, f"not bold black on rgb({red},{green},{blue})")
        line.append(" ", "not bold")
    console.print(line, soft_wrap=True)
    ranked = sorted(zip(told.attributions, told.words, strict=True), key=lambda item: -abs(item[0]))
    strongest = "  ".join(f"{word} {attribution:+.2f}" for attribution, word in ranked[:STRONGEST])
    console.print(f"  {strongest}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"  {sentence(told)}", markup=False, highlight=False, style="dim", soft_wrap=True)
