"""Write the tables of inputs and outputs in the READMEs of components from their signatures and docstrings:
`python -m tests.docs.component_tables`.

The source is read, not imported, so the tables need no kfp and no installed package.
"""

import ast
import inspect
import re
from pathlib import Path
from typing import NamedTuple

from tests.docs.pages import ROOT, replaced

MARK = "inputs and outputs"
CONTEXT = "PipelineTaskFinalStatus"


class Port(NamedTuple):
    """An input or output of a component."""

    name: str
    kind: str
    meaning: str
    is_output: bool


def component_files() -> list[Path]:
    """The file of each component, and of the pipeline's first task."""
    return [*sorted(ROOT.glob("components/*/component.py")), *ROOT.glob("pipelines/preflight_component.py")]


def readme_of(component: Path) -> Path:
    """The README that has the component's table."""
    return component.parent / "README.md"


def function_of(component: Path) -> ast.FunctionDef:
    """The function that is the component."""
    tree = ast.parse(component.read_text("utf-8"))
    found = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any("component" in ast.unparse(d) for d in node.decorator_list)
    ]
    assert len(found) == 1, f"{component} has {len(found)} components, expected one"
    return found[0]


def ports(component: Path) -> list[Port]:
    """Inputs, then outputs, as the signature says.

    Raises:
        KeyError: the docstring says nothing of one.
    """
    function = function_of(component)
    arguments, results = _meanings(ast.get_docstring(function) or "")
    found = []
    for argument in function.args.args:
        kind = ast.unparse(argument.annotation) if argument.annotation else ""
        artifact = re.fullmatch(r"dsl\.(Input|Output)\[dsl\.(\w+)\]", kind)
        name = artifact[2] if artifact else f"`{kind.removeprefix('dsl.')}`"
        found.append(Port(argument.arg, name, arguments[argument.arg], bool(artifact and artifact[1] == "Output")))
    found += [Port(name, f"`{kind}`", results[name], True) for name, kind in _returned(function, results)]
    return sorted(found, key=lambda port: port.is_output)


def _returned(function: ast.FunctionDef, results: dict[str, str]) -> list[tuple[str, str]]:
    """Name and type of each value that is returned."""
    if function.returns is None or ast.unparse(function.returns) == "None":
        return []
    if isinstance(function.returns, ast.Call):  # NamedTuple("Outputs", [("passed", bool), …])
        pairs = function.returns.args[1]
        assert isinstance(pairs, ast.List)
        found = []
        for pair in pairs.elts:
            assert isinstance(pair, ast.Tuple)
            name = str(ast.literal_eval(pair.elts[0]))
            results.setdefault(name, results.get("", ""))
            found.append((name, ast.unparse(pair.elts[1])))
        return found
    results["Output"] = results[""]
    return [("Output", ast.unparse(function.returns))]


def _meanings(docstring: str) -> tuple[dict[str, str], dict[str, str]]:
    """What the sections `Args` and `Returns` say, by name; without a name under the empty one."""
    parts = re.split(r"^(Args|Returns|Raises):\n", docstring, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    found: list[dict[str, str]] = []
    for section in ("Args", "Returns"):
        named: dict[str, str] = {}
        for entry in re.split(r"\n(?=\S)", inspect.cleandoc(sections.get(section, ""))):
            one_line = " ".join(entry.split())
            match = re.fullmatch(r"(\w+): (.*)", one_line)
            named[match[1] if match else ""] = match[2] if match else one_line
        found.append(named)
    return found[0], found[1]


def table(component: Path) -> str:
    """The Markdown table."""
    rows = ["| | name | type | is |", "|---|---|---|---|"]
    for port in ports(component):
        cells = ("output" if port.is_output else "input", f"`{port.name}`", port.kind, port.meaning)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    for file in component_files():
        readme_of(file).write_text(replaced(readme_of(file), MARK, table(file)), "utf-8")
