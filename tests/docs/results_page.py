"""Write the tables of docs/results.md from the forms of the steps' results: `python -m tests.docs.results_page`."""

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

from slipway.components.report.timing import STEPS
from slipway.components.step_runtime.step_result import StepResult
from tests.docs.pages import ROOT, replaced

PAGE = ROOT / "docs" / "results.md"
MARK = "results"
Schema = dict[str, Any]
KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}


def forms() -> list[type[StepResult]]:
    """The form of each step's result, in the order of the pipeline."""
    found = {}
    for path in ROOT.glob("components/*/result.py"):
        module = importlib.import_module(f"slipway.components.{path.parent.name}.result")
        own = [form for form in vars(module).values() if isinstance(form, type) and issubclass(form, StepResult)]
        whole = max((form for form in own if form is not StepResult), key=lambda form: len(form.model_fields))
        found[whole.step] = whole
    return [found[step] for step in STEPS]


def tables() -> str:
    """The page's sections, each with a table of the result and one for each of its parts."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    for form in forms():
        schema = form.model_json_schema(mode="serialization")
        yield from (f"## `{form.step}`", "", *_words(schema), *_table(schema))
        for name, part in schema.get("$defs", {}).items():
            if "properties" in part:
                yield from (f"### `{form.step}`: {name}", "", *_words(part), *_table(part))


def _words(schema: Schema) -> Iterator[str]:
    """What a form is, in the words of its docstring."""
    if words := inspect.cleandoc(schema.get("description", "")):
        yield from (" ".join(words.split()), "")


def _table(schema: Schema) -> Iterator[str]:
    yield from ("| field | value | meaning |", "|---|---|---|")
    for name, field in schema["properties"].items():
        meaning = " ".join(field.get("description", "").split())
        cells = (f"`{name}`", kind_of(field), meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def kind_of(field: Schema) -> str:
    """What a field holds, in words."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return "any JSON" if name == "JsonValue" else name
    if "anyOf" in field:
        return " or ".join(kind_of(one) for one in field["anyOf"])
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "prefixItems" in field:
        return "; ".join(kind_of(item) for item in field["prefixItems"])
    if field.get("type") == "array":
        return f"list of {kind_of(field.get('items', {}))}"
    if field.get("type") == "object":
        return f"{kind_of(field.get('additionalProperties') or {})}, by name"
    return KINDS.get(field.get("type", ""), "any JSON")


if __name__ == "__main__":
    PAGE.write_text(replaced(PAGE, MARK, tables()), "utf-8")
