"""What is kept of the logs of drivers and steps, in the forms that Kubeflow Pipelines 2.17 and Argo write."""

import pytest

from slipway.components.kubeflow.log_excerpt import LINES, WIDTH, cut, driver_error, error_of, last_lines

ARGO_END = """\
time="2026-11-26T19:31:24.709Z" level=info msg="sub-process exited" argo=true error="<nil>"
time="2026-11-26T19:31:24.709Z" level=error msg="cannot save parameter /tmp/outputs/condition" argo=true error="open"
Error: exit status 1
"""
DRIVER_START = """\
time="2026-11-26T19:31:22.562Z" level=info msg="capturing logs" argo=true
I1126 19:31:22.592964      16 main.go:93] Setting log level to: '1'
I1126 19:31:22.593033      16 main.go:142] input ComponentSpec:{
  "executorLabel": "exec-choose",
  "inputDefinitions": {}
}
"""
WHICH = (
    'driver.Container(pipelineName=slipway, runID=0f33190c, taskDisplayName="choose", taskName="choose", '
    'component="comp-choose", dagExecutionID=234, componentSpec, KubernetesExecutorConfig)'
)
REFUSALS = [
    'failed to resolve inputs: input parameter "item" type mismatch: expect STRUCT, got STRING',
    'processing OneOf: No successful task found for output key "chosen" in parent task "branches" (dag ID 7)',
    'failed to resolve inputs: resolving input parameter with spec component_input_parameter:"x": parent DAG does not',
    "rpc error: code = Unavailable desc = connection error: dial tcp 10.96.0.9:8080: connect: connection refused",
]

STEP = """\
time="2026-11-26T18:48:05.101Z" level=info msg="capturing logs" argo=true
I1126 18:48:05.201532      18 main.go:61] Setting log level to: '1'
WARNING: Running pip as the 'root' user can result in broken permissions
[KFP Executor 2026-11-26 18:48:06,123 INFO]: Looking for component `preflight` in --component_module_path `/tmp/c.py`
[KFP Executor 2026-11-26 18:48:06,124 INFO]: Got executor_input:
{
    "inputs": {
        "parameterValues": {"model_name": "m"}
    }
}
"""
STEP_END = """\
E1126 18:48:08.000001      18 launcher_v2.go:512] Component failed to execute successfully: exit status 1
I1126 18:48:08.000002      18 launcher_v2.go:226] publish success.
F1126 18:48:08.000003      18 main.go:58] failed to execute component: exit status 1
time="2026-11-26T18:48:08.709Z" level=info msg="sub-process exited" argo=true error="<nil>"
Error: exit status 1
"""
IMPORT_ERROR = """\
Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
  File "/tmp/tmp.x/ephemeral_component.py", line 30, in preflight
    from components.absent import check
ModuleNotFoundError: No module named 'components.absent'
"""


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_driver_s_refusal_is_told_from_its_cause_on(refusal: str) -> None:
    fatal = f"F1126 19:31:24.543210      17 main.go:127] KFP driver: {WHICH} failed: {refusal}\n"
    assert driver_error(DRIVER_START + fatal + ARGO_END) == [refusal]


def test_a_driver_s_refusal_of_several_lines_is_kept_whole_and_no_argument_with_it() -> None:
    fatal = "F1126 19:31:24.543210 17 main.go:127] KFP driver: failed to unmarshal task spec, error: x\ntask: {\n}\n"
    assert driver_error(DRIVER_START + fatal + ARGO_END) == [
        "failed to unmarshal task spec, error: x",
        "task: {",
        "}",
    ]


def test_the_last_word_of_a_driver_goes_before_an_error_that_it_passed_over() -> None:
    passed = "E1126 19:31:23.000000 17 main.go:243] Failed to initialize plugin dispatcher: no server\n"
    fatal = "F1126 19:31:24.543210 17 main.go:127] KFP driver: the cause\n"
    assert driver_error(passed + fatal) == ["the cause"]
    assert driver_error(passed + DRIVER_START) == ["Failed to initialize plugin dispatcher: no server"]
    assert driver_error(DRIVER_START + ARGO_END) == []


def test_a_driver_that_panics_is_told_without_its_stack() -> None:
    panic = "panic: runtime error: invalid memory address\n\ngoroutine 1 [running]:\nmain()\n"
    assert driver_error(DRIVER_START + panic + ARGO_END) == [panic.splitlines()[0]]


def test_of_an_import_error_the_line_that_imports_and_the_error_remain() -> None:
    lines = last_lines(STEP + IMPORT_ERROR + STEP_END)
    assert lines == [
        '  File "/tmp/tmp.x/ephemeral_component.py", line 30, in preflight',
        "    from components.absent import check",
        "ModuleNotFoundError: No module named 'components.absent'",
    ]
    assert error_of(lines) == "ModuleNotFoundError: No module named 'components.absent'"


def test_the_message_of_an_error_may_have_lines_and_its_place_marks() -> None:
    begin = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    f(x)\n    ^^^^\n'
    raised = f"{begin}ValueError: bad\nmore words\n"
    lines = last_lines(STEP + raised + STEP_END)
    assert lines == ['  File "a.py", line 1, in f', "    f(x)", "ValueError: bad", "more words"]
    assert error_of(lines) == "ValueError: bad"


def test_a_traceback_after_which_the_program_went_on_is_not_its_end() -> None:
    went_on = "".join(f"step {number}\n" for number in range(40))
    lines = last_lines(IMPORT_ERROR + went_on + STEP_END)
    assert lines == [f"step {number}" for number in range(40 - LINES, 40)]


def test_an_error_of_ours_is_the_last_line() -> None:
    lines = last_lines(STEP + "reading the data\nBadInput: data.source = x.csv: no such file\n" + STEP_END)
    assert lines == ["reading the data", "BadInput: data.source = x.csv: no such file"]
    assert error_of(lines) == lines[-1]


def test_warnings_pip_colours_and_progress_bars_are_no_words() -> None:
    noise = (
        "/usr/lib/python3.11/x.py:12: FutureWarning: gone soon\n  warnings.warn('gone soon')\n"
        "Collecting torch\n  Downloading torch-2.whl (3 MB)\nInstalling collected packages: torch\n"
        "[notice] A new release of pip is available\n\n"
        " 50%|#####     |\r100%|##########|\n\x1b[31mred\x1b[0m\n"
    )
    assert last_lines(noise + STEP_END) == ["100%|##########|", "red"]


def test_what_the_launcher_alone_knows_is_kept() -> None:
    killed = "F1126 18:48:08.000003 18 main.go:58] failed to execute component: signal: killed\n"
    assert last_lines(STEP + killed + "Error: exit status 1\n") == ["failed to execute component: signal: killed"]


def test_a_line_that_is_too_long_keeps_its_ends_and_no_login() -> None:
    line = cut("begin s3://key:secret@host/x " + "m" * 1000 + " the root")
    assert len(line) <= WIDTH
    assert line.startswith("begin s3://***@host/x m")
    assert line.endswith(" the root")


def test_a_log_without_words_has_none() -> None:
    assert last_lines(STEP + STEP_END) == []
    assert error_of([]) == ""
