"""Renders explanations as HTML: green words speak for a label, red words against it, for the report and the CLI."""

from collections.abc import Iterator, Sequence
from html import escape

from slipway.components.explanation.class_explanation import ClassExplanation
from slipway.components.step_runtime import html

FOR, AGAINST = (26, 127, 75), (179, 38, 30)
"""RGB of the strongest tint, as in `slipway.components.step_runtime.html`."""


def tints(explanation: ClassExplanation) -> Iterator[tuple[str, float, tuple[int, int, int]]]:
    """Yield each word with its attribution and its tint (RGB): full for the strongest word, white for no effect."""
    strongest = max(map(abs, explanation.attributions), default=0.0) or 1.0
    for word, attribution in zip(explanation.words, explanation.attributions, strict=True):
        strength = 0.75 * abs(attribution) / strongest  # so that black letters stay readable
        colour = FOR if attribution > 0 else AGAINST
        red, green, blue = (round(255 - (255 - part) * strength) for part in colour)
        yield word, attribution, (red, green, blue)


def words(explanation: ClassExplanation) -> str:
    """An HTML fragment: the tinted words, each above its attribution, and a sentence with their sum."""
    spans = "".join(
        f'<span style="background: rgb{tint}">{escape(word)}<small>{attribution:+.2f}</small></span>'
        for word, attribution, tint in tints(explanation)
    )
    return f'<div class="words">{spans}</div><p class="soft">{escape(sentence(explanation))}</p>'


def sentence(explanation: ClassExplanation) -> str:
    """A sentence with the sum of the attributions."""
    gained = explanation.logit - explanation.baseline
    cut = " The model reads no more of the text." if explanation.cut else ""
    return (
        f"The words add {gained:+.2f} to the logit of {explanation.label}, from {explanation.baseline:.2f} with every "
        f"word masked to {explanation.logit:.2f}.{cut}"
    )


def document(texts: Sequence[str], explanations: Sequence[Sequence[ClassExplanation]]) -> str:
    """An HTML page: every text with the explanations of its labels.

    Args:
        texts: the texts.
        explanations: for each text, one explanation for each label.
    """
    parts = [
        html.heading("Which words speak for the label", 1),
        html.paragraph(
            "Shapley values of words: green words speak for the label, red ones against it. The number is what a word "
            "adds to the label's logit, on average over all orders in which the words could be revealed."
        ),
    ]
    for text, labels in zip(texts, explanations, strict=True):
        parts.append(html.heading(text if len(text) < 100 else f"{text[:100]}…"))
        for explanation in labels:
            parts.append(
                html.heading(
                    explanation.label if explanation.score is None else f"{explanation.label}: {explanation.score:.1%}",
                    3,
                )
            )
            parts.append(words(explanation))
    return html.document("Explanation", "\n".join(parts))
