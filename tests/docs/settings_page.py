"""Write the tables of docs/settings.md from the settings themselves: `python -m tests.docs.settings_page`."""

from collections.abc import Iterator

from slipway.pipelines.settings import FieldDescription, as_yaml, fields
from tests.docs.pages import ROOT, replaced

PAGE = ROOT / "docs" / "settings.md"
MARK = "settings"
SECTIONS = {
    "": "What a run is about",
    "data": "where the texts come from",
    "select": "which candidates are compared",
    "train": "how the encoder is fine-tuned",
    "compress": "how the model is made small",
    "evaluate": "what the gate asks for",
    "registry": "where bundles are kept, and who signs",
    "rollout": "how traffic moves",
    "cluster": "what is made on a cluster",
}
"""Sections of the page in order, with what they are about."""

BASIC = [
    "model_name",
    "target",
    "tracking_uri",
    "data.source",
    "data.text_column",
    "data.label_column",
    "data.header",
    "data.rare_classes",
    "data.minimum_examples",
    "data.limit",
    "select.candidates",
    "select.folds",
    "select.texts",
    "train.encoder",
    "train.max_length",
    "train.epochs",
    "train.batch_size",
    "train.learning_rate",
    "train.processes",
    "train.privacy_epsilon",
    "compress.quality_share",
    "compress.target",
    "compress.budget_s",
    "compress.distil",
    "compress.prune",
    "compress.quantise",
    "evaluate.min_macro_f1",
    "evaluate.max_drop",
    "evaluate.min_class_recall",
    "registry.store",
    "registry.keys",
    "registry.signing_key",
    "registry.encryption_key",
    "rollout.steps",
    "rollout.bake_s",
    "rollout.max_error_rise",
    "rollout.max_slow_rise",
    "rollout.max_disagreement",
    "rollout.max_accuracy_drop",
    "rollout.step_time_limit_s",
    "rollout.on_inconclusive",
    "rollout.http_port",
    "rollout.grpc_port",
    "cluster.namespace",
    "cluster.store",
    "cluster.tracking_uri",
    "cluster.gateway",
    "cluster.image",
    "cluster.queue",
]
"""Settings that many people change; the others are for those who know why."""


def tables() -> str:
    """The page's sections, each with a table of basic and one of advanced settings."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    known = list(fields())
    for section, title in SECTIONS.items():
        yield from (f"## `{section}`: {title}" if section else f"## {title}", "")
        own = [field for field in known if field.name.rpartition(".")[0] == section]
        basic = [field for field in own if field.name in BASIC]
        advanced = [field for field in own if field.name not in BASIC]
        for name, chosen in (("Basic", basic), ("Advanced", advanced)):
            if chosen:
                heading = f"### {name}: `{section}`" if section else f"### {name}"
                yield from (heading, "", "| setting | default | unit | meaning |", "|---|---|---|---|")
                yield from map(_row, chosen)
                yield ""


def _row(field: FieldDescription) -> str:
    default = as_yaml(field.default)
    meaning = field.meaning.replace("&", "&amp;")
    cells = (f"`{field.name}`", f"`{default}`" if default not in ("''", "") else "", field.unit, meaning)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(replaced(PAGE, MARK, tables()), "utf-8")
