"""The README of each component has the inputs and outputs of its signature, and an example that kfp takes."""

from pathlib import Path
from typing import Any

import pytest

from tests.docs import component_tables
from tests.docs.component_tables import component_files, readme_of
from tests.docs.pages import ROOT, blocks, replaced

STEPS = [file for file in component_files() if file.name == "component.py"]


@pytest.mark.parametrize("component", component_files(), ids=lambda file: file.parent.name)
def test_the_table_is_that_of_the_signature(component: Path) -> None:
    page = readme_of(component)
    fresh = replaced(page, component_tables.MARK, component_tables.table(component))
    assert page.read_text("utf-8") == fresh, "run `python -m tests.docs.component_tables`"


@pytest.mark.parametrize("component", component_files(), ids=lambda file: file.parent.name)
def test_every_input_and_output_has_a_meaning(component: Path) -> None:
    assert [port.name for port in component_tables.ports(component) if len(port.meaning) < 3] == []


def example(component: Path) -> str:
    found = [block.code for block in blocks(readme_of(component), "python")]
    assert len(found) == 1, f"{readme_of(component)} has {len(found)} examples, expected one"
    return found[0]


@pytest.mark.parametrize("component", STEPS, ids=lambda file: file.parent.name)
def test_the_example_is_a_pipeline_that_kfp_takes(component: Path) -> None:
    """kfp builds the pipeline when it is declared: names and types of all inputs have to fit."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(example(component), str(readme_of(component)), "exec"), names)  # what our own README says
    specification = names["alone"].pipeline_spec
    assert component_tables.function_of(component).name.replace("_", "-") in str(specification)


def test_an_example_with_a_wrong_input_is_found() -> None:
    component = ROOT / "components" / "prepare_data" / "component.py"
    broken = example(component).replace("version=", "edition=")
    with pytest.raises(TypeError):
        exec(compile(broken, "example", "exec"), {"__name__": "example"})


def test_the_example_of_prepare_data_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    sample = (ROOT / "components/prepare_data/samples/customer_messages.csv").read_text("utf-8")
    (tmp_path / "tickets.csv").write_text(sample.replace("text,label", "message,topic", 1), "utf-8")
    code = example(ROOT / "components" / "prepare_data" / "component.py")
    exec(compile(code, "example", "exec"), {"__name__": "__main__"})
    assert list((tmp_path / "local_outputs").rglob("train.arrow"))
