from pathlib import Path

from tests import slow_files

REPORT = """<testsuites><testsuite>
<testcase classname="tests.serving.test_a" name="one" time="1.5" />
<testcase classname="tests.serving.test_a.TestIt" name="two" time="0.6" />
<testcase classname="tests.serving.test_b" name="one" time="1.9" />
</testsuite></testsuites>"""


def test_a_file_is_slow_when_its_tests_are_together(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    assert slow_files.measured(report) == ["tests/serving/test_a.py"]


def test_the_list_names_files_that_are_there() -> None:
    root = Path(__file__).parents[1]
    assert [path for path in slow_files.listed() if not (root / path).is_file()] == []
    assert "tests/test_slow_files.py" in slow_files.quick()
