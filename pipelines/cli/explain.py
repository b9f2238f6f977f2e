"""The command `slipway explain`, which shows the words of a text that support the label of the served model."""

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
"""How many words are listed with their attributions."""


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
    """Request explanations, print them in colour and write them as an HTML picture.

    Args:
        client: of the served model.
        texts: to be explained.
        top: how many labels of each text are explained.
        picture: path of the HTML file; its folder is made when it is missing.
        console: shows the explanations.

    Raises:
        BadInput: the server rejected a text, or the picture cannot be written.
        SlipwayError: the server did not respond.
    """
    explanations = [
        [_as_class_explanation(explanation) for explanation in labels] for labels in client.explain(texts, top)
    ]
    for text, labels in zip(texts, explanations, strict=True):
        for explanation in labels:
            show(explanation, console)
        if text != texts[-1]:
            console.print()
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_text(document(texts, explanations), "utf-8")
    except OSError as error:
        raise BadInput(f"the picture {picture} cannot be written ({error.strerror}); give another path") from error
    console.print(f"picture: {picture}", highlight=False, soft_wrap=True)


def _as_class_explanation(explanation: Explanation) -> ClassExplanation:
    return ClassExplanation.model_validate(explanation.to_json())


def as_json(client: Client, texts: Sequence[str], top: int) -> str:
    """The explanations as JSON, for scripts. Raises the same errors as `explain`."""
    rows = [
        {"text": text, "explanations": [explanation.to_json() for explanation in labels]}
        for text, labels in zip(texts, client.explain(texts, top), strict=True)
    ]
    return json.dumps(rows, ensure_ascii=False)


def show(explanation: ClassExplanation, console: Console) -> None:
    """Print the explanation of one label: the words in colour, then the strongest ones with their attributions."""
    line = Text(f"{explanation.label} {explanation.score or 0:.3f}  ", "bold")
    for word, _, (red, green, blue) in tints(explanation):
        line.append(word, f"not bold black on rgb({red},{green},{blue})")
        line.append(" ", "not bold")
    console.print(line, soft_wrap=True)
    ranked = sorted(zip(explanation.attributions, explanation.words, strict=True), key=lambda item: -abs(item[0]))
    strongest = "  ".join(f"{word} {attribution:+.2f}" for attribution, word in ranked[:STRONGEST])
    console.print(f"  {strongest}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"  {sentence(explanation)}", markup=False, highlight=False, style="dim", soft_wrap=True)
