"""The section of the run's report about the step `prepare_data`."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from slipway.components.artifacts.dataset import SPLITS
from slipway.components.prepare_data.result import LabelNoise, NearDuplicate, PrepareDataResult
from slipway.components.step_runtime import html

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"train": "#2f5d9e", "validation": "#e08e2b", "test": "#3f9c6d"}
MANY_CUT = 0.02
"""From this share of cut texts on, the report warns."""
MOST_BARS = 24
"""With more classes, only the largest and the smallest ones have bars."""


def scalars(result: PrepareDataResult) -> dict[str, float]:
    """Values to compare over runs."""
    values: dict[str, float] = {"rows_read": result.rows_read, "rows_kept": result.rows_kept}
    values |= {f"{name}_duplicates": result.removed.get(f"{name} duplicate", 0) for name in ("exact", "near")}
    return values | {"classes": len(result.labels)}


def section(result: PrepareDataResult) -> str:
    """HTML fragment: facts, class balance, lengths, what was removed, and examples."""
    rows = {name: sum(result.classes[name].values()) for name in SPLITS}
    facts = {
        "Source": result.source,
        "Rows read": f"{result.rows_read:,}",
        "Texts kept": f"{result.rows_kept:,}",
        "Classes": f"{len(result.labels)}",
        "Train / validation / test": " / ".join(f"{rows[name]:,}" for name in SPLITS),
        **_division(result),
        "Digest": result.digest.removeprefix("sha256:")[:12],
    }
    parts = [html.heading("Data"), *_notices(result), html.facts(facts)]
    parts.append(html.figure(partial(class_balance, result), _balance_caption(result)))
    parts.append(html.figure(partial(length_histogram, result), "Length of the texts in all splits, characters"))
    parts.append(html.table(["Split", *_QUANTILE_NAMES.values()], _length_rows(result)))
    parts.extend(_tokens(result, rows))
    parts.append(html.heading("Removed rows", 3))
    if result.removed:
        removed = sorted(result.removed.items(), key=lambda item: -item[1])
        shares = [[reason, f"{count:,}", f"{count / result.rows_read:.1%}"] for reason, count in removed]
        parts.append(html.table(["Reason", "Rows", "Share of rows read"], shares))
        parts.append(html.details("Removed rows of each class", _removed_table(result)))
    else:
        parts.append(html.paragraph("No row was removed."))
    parts.extend(_duplicates(result))
    if result.label_noise:
        parts.extend(_label_noise(result.label_noise))
    if len(result.labels) > MOST_BARS:
        parts.append(html.details("Examples of every class by split", _class_table(result)))
    examples = [[label, text] for label, texts in result.examples.items() for text in texts]
    parts.append(html.details("Examples of each class", html.table(["Class", "Text"], examples)))
    return "\n".join(parts)


_QUANTILE_NAMES = {
    "minimum": "Shortest",
    "quarter": "25 %",
    "median": "Median",
    "three_quarters": "75 %",
    "p95": "95 %",
    "maximum": "Longest",
}


def _division(result: PrepareDataResult) -> dict[str, str]:
    """How many groups each split has, and of which times its texts are."""
    facts = {}
    if result.groups:
        facts["Groups in train / validation / test"] = " / ".join(f"{result.groups[name]:,}" for name in SPLITS)
    for name, (oldest, newest) in result.times.items():
        facts[f"Times in {name}"] = f"{oldest} to {newest}"
    return facts


def _notices(result: PrepareDataResult) -> list[str]:
    notices = []
    if result.similar_labels:
        names = ", ".join(result.similar_labels)
        notices.append(html.notice(f"Some classes differ only in upper and lower case: {names}.", "bad"))
    for name in SPLITS:
        missing = [label for label in result.labels if not result.classes[name].get(label)]
        if missing and any(result.classes[name].values()):
            listed = ", ".join(missing[:10]) + (" …" if len(missing) > 10 else "")
            notices.append(html.notice(f"The {name} split has no example of {listed}.", "bad"))
    if result.conflicts_count:
        text = f"{result.conflicts_count} texts occur with more than one label; see below what was done with them."
        notices.append(html.notice(text, "neutral"))
    return notices


def _tokens(result: PrepareDataResult, rows: Mapping[str, int]) -> list[str]:
    """How long the texts are for the encoder, and how many the model will cut."""
    tokens = result.tokens
    if not tokens:
        return []
    text = f"In tokens of {tokens.encoder}: 99 % of the training texts have at most {tokens.p99}"
    text += f", the longest text {tokens.longest}."
    cut = ", ".join(f"{count} of {rows[name]} {name} texts" for name, count in tokens.cut.items() if count)
    if not cut:
        return [html.paragraph(f"{text} The model reads {tokens.max_length}, so all of them whole.")]
    many = max(tokens.cut[name] / max(rows[name], 1) for name in tokens.cut) > MANY_CUT
    advice = " Set train.max_length to more, if the encoder takes more." if many else ""
    return [
        html.paragraph(text),
        html.notice(f"Cut after {tokens.max_length} tokens: {cut}.{advice}", "bad" if many else "neutral"),
    ]


def _length_rows(result: PrepareDataResult) -> list[list[str]]:
    return [
        [name, *(str(getattr(result.lengths[name], quantile)) for quantile in _QUANTILE_NAMES)]
        for name in SPLITS
        if name in result.lengths
    ]


def _duplicates(result: PrepareDataResult) -> list[str]:
    duplicates, parts = result.duplicates, []
    if duplicates.exact:
        rows = [[item.text, str(item.count)] for item in duplicates.exact]
        parts.append(html.details("Texts that occur most often", html.table(["Text", "Times"], rows)))
    if duplicates.near:
        parts.append(html.details("Near duplicates, the least similar first", _near_table(duplicates.near)))
    if others_count := duplicates.near_with_other_label_count:
        summary = f"Near duplicates with another label than the text that was kept: {others_count}"
        parts.append(html.details(summary, _near_table(duplicates.near_with_other_label)))
    if result.conflicts:
        rows = [
            [
                item.text,
                ", ".join(f"{label} ({count})" for label, count in item.labels.items()),
                item.kept or "dropped",
            ]
            for item in result.conflicts
        ]
        parts.append(html.details("Texts with several labels", html.table(["Text", "Labels", "Kept as"], rows)))
    return parts


def _label_noise(noise: LabelNoise) -> list[str]:
    worst = sorted(noise.classes.items(), key=lambda item: -item[1])
    rows = [[item.text, item.label, item.suggested, f"{item.margin:.2f}"] for item in noise.suspicious]
    return [
        html.heading("Labels to look at", 3),
        html.paragraph(
            f"Of {noise.texts:,} texts, {noise.suspicious_count:,} look like those of another class than their label "
            f"says (confident learning, Northcutt et al. 2021). An estimated {noise.share:.1%} of the labels "
            "are wrong, or of classes that the quick model of this search cannot tell apart: it gives "
            f"{noise.accuracy:.0%} of the texts the label that they have."
        ),
        html.details("The most suspicious texts", html.table(["Text", "Label", "Looks like", "Margin"], rows)),
        html.details(
            "Estimated share of wrong labels by class",
            html.table(["Class", "Share"], [[label, f"{share:.1%}"] for label, share in worst]),
        ),
    ]


def _class_table(result: PrepareDataResult) -> str:
    counts = [[result.classes[name][label] for name in SPLITS] for label in reversed(_by_size(result))]
    rows = [[label, *map(str, row)] for label, row in zip(reversed(_by_size(result)), counts, strict=True)]
    return html.table(["Class", *SPLITS], rows)


def _removed_table(result: PrepareDataResult) -> str:
    """Removed rows by class and reason, the class that lost the greatest part of its rows first."""
    reasons = sorted(result.removed)
    rows = []
    for label, counts in result.removed_by_class.items():
        kept = sum(result.classes[name].get(label, 0) for name in SPLITS)
        lost = sum(counts.values())
        numbers = [*(counts.get(reason, 0) for reason in reasons), kept]
        rows.append((lost / (lost + kept), [label or "(no label)", *(f"{number:,}" for number in numbers)]))
    rows.sort(key=lambda row: -row[0])
    return html.table(["Class", *reasons, "Kept"], [row for _, row in rows])


def _near_table(pairs: Sequence[NearDuplicate]) -> str:
    rows = [[pair.removed, pair.removed_label, pair.kept, pair.kept_label, f"{pair.similarity:.2f}"] for pair in pairs]
    return html.table(["Removed", "Label", "Kept", "Label", "Similarity"], rows)


def _balance_caption(result: PrepareDataResult) -> str:
    classes = len(result.labels)
    if classes <= MOST_BARS:
        return "Examples of each class by split"
    return f"Examples by split of the {MOST_BARS // 2} largest and {MOST_BARS // 2} smallest of {classes} classes"


def _by_size(result: PrepareDataResult) -> list[str]:
    """The classes, the smallest first."""
    classes = result.classes
    return sorted(result.labels, key=lambda label: sum(classes[name][label] for name in SPLITS))


def class_balance(result: PrepareDataResult, width: float) -> "Figure":
    """One stacked horizontal bar for each class, the largest first; of many classes, the largest and smallest only."""
    classes, labels = result.classes, _by_size(result)
    if len(labels) > MOST_BARS:
        labels = labels[: MOST_BARS // 2] + labels[-MOST_BARS // 2 :]
    names = [html.shortened(label, width) for label in labels]
    figure = html.new_figure(width, 1.2 + 0.3 * len(labels))
    axes = figure.subplots()
    left = [0] * len(labels)
    for name in SPLITS:
        counts = [classes[name][label] for label in labels]
        axes.barh(range(len(labels)), counts, left=left, label=name, color=COLOURS[name])
        left = [start + count for start, count in zip(left, counts, strict=True)]
    for row, total in enumerate(left):
        axes.annotate(f"{total:,}", (total, row), xytext=(5, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(labels)), names)
    axes.set_xlim(0, max(left) * (1 + 0.8 / width))
    axes.set_xlabel("examples")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def length_histogram(result: PrepareDataResult, width: float) -> "Figure":
    """Histogram of the lengths of the texts."""
    edges, counts = result.length_histogram.edges, result.length_histogram.counts
    figure = html.new_figure(width, 2.6)
    axes = figure.subplots()
    axes.stairs(counts, edges, fill=True, color=COLOURS["train"])
    axes.set(xlabel="characters", ylabel="texts", xlim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    return figure
