"""An explanation as a picture: the words of a text, green as far as they speak for a label, red against it."""

from collections.abc import Iterator, Sequence
from html import escape

from slipway.components.explanation.class_explanation import ClassExplanation
from slipway.components.step_runtime import html

FOR, AGAINST = (26, 127, 75), (179, 38, 30)
"""RGB of the strongest tint, as in `slipway.components.step_runtime.html`."""


def tints(told: ClassExplanation) -> Iterator[tuple[str, float, tuple[int, int, int]]]:
    """Each word with its attribution and its tint, RGB: full for the strongest word, white for one without effect."""
    strongest = max(map(abs, told.attributions), default=0.0) or 1.0
    for word, attribution in zip(told.words, told.attributions, strict=True):
        strength = 0.75 * abs(attribution) / strongest  # so that black letters stay readable
        colour = FOR if attribution > 0 else AGAINST
        red, green, blue = (round(255 - (255 - part) * strength) for part in colour)
        yield word, attribution, (red, green, blue)


def words(told: ClassExplanation) -> str:
    """HTML fragment: the tinted words, each above its attribution, and what they add up to."""
    spans = "".join(
        f'<span style="background: rgb{tint}">{escape(word)}<small>{attribution:+.2f}</small></span>'
        for word, attribution, tint in tints(told)
    )
    return f'<div class="words">{spans}</div><p class="soft">{escape(sentence(told))}</p>'


def sentence(told: ClassExplanation) -> str:
    """What the attributions add up to."""
    gained = told.logit - told.baseline
    cut = " The model reads no more of the text." if told.cut else ""
    return (
        f"The words add {gained:+.2f} to the logit of {told.label}, from {told.baseline:.2f} with every word "
        f"masked to {told.logit:.2f}.{cut}"
    )


def document(texts: Sequence[str], explanations: Sequence[Sequence[ClassExplanation]]) -> str:
    """A whole page: every text with the explanations of its labels."""
    parts = [
        html.heading("Which words speak for the label", 1),
        html.paragraph(
            "Shapley values of words: green words speak for the label, red ones against it. The number is what a word "
            "adds to the label's logit, on average over all orders in which the words could be revealed."
        ),
    ]
    for text, labels in zip(texts, explanations, strict=True):
        parts.append(html.heading(text if len(text) < 100 else f"{text[:100]}…"))
        for told in labels:
            parts.append(html.heading(told.label if told.score is None else f"{told.label}: {told.score:.1%}", 3))
            parts.append(words(told))
    return html.document("Explanation", "\n".join(parts))
