"""docs/results.md has the forms of the steps' results as the code has them, and every field of a form is described."""

from slipway.components.report.timing import STEPS
from slipway.components.step_runtime.step_result import ResultPart
from tests.docs import results_page
from tests.docs.pages import replaced


def test_the_page_has_the_tables_of_the_forms() -> None:
    page = results_page.PAGE
    fresh = replaced(page, results_page.MARK, results_page.tables())
    assert page.read_text("utf-8") == fresh, "run `python -m tests.docs.results_page`"


def test_each_step_of_the_pipeline_has_a_form() -> None:
    assert [form.step for form in results_page.forms()] == list(STEPS)


def test_every_field_of_a_form_says_what_it_is() -> None:
    forms = every(ResultPart)
    bare = [f"{form.__name__}.{name}" for form in forms for name, f in form.model_fields.items() if not f.description]
    assert [name for name in bare if name.partition(".")[0] not in OF_TESTS] == []
    assert len(forms) > len(STEPS)


OF_TESTS = {"Part", "Weighing", "AnyResult"}
"""Forms that tests make."""


def every(form: type[ResultPart]) -> list[type[ResultPart]]:
    """The forms that are made from one."""
    return [found for own in form.__subclasses__() for found in (own, *every(own))]
