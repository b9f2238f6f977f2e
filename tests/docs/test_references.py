"""What the pages name is there: files, paths of the server, metrics, alerts, commands, and what links lead to."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from kserve.protocol.grpc import grpc_predict_v2_pb2
from typer.core import TyperGroup

from slipway.components import errors
from slipway.pipelines.cli.main import app
from slipway.pipelines.pipeline_parameters import FIELDS, REST
from tests.docs.pages import ROOT, inline, pages, prose
from tests.docs.programs import api, make_targets

DOCS = ROOT / "docs"
FOLDERS = ("components", "pipelines", "serving", "manifests", "benchmarks", "docs", "tests", "docker", "examples")
MADE = {"manifests/install.sums"}
"""Files that a command makes."""


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" not in target and not target.startswith("#"):
            assert (page.parent / target.partition("#")[0]).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_are_there(page: Path) -> None:
    for code in inline(page):
        if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*\w/?", code):
            places = [ROOT / code, page.parent / code]
            assert code in MADE or any(place.exists() for place in places), f"{page.name} names {code}"


def test_the_paths_of_the_server_are_those_of_its_own_description() -> None:
    page = (DOCS / "http-grpc.md").read_text("utf-8")
    told = set(re.findall(r"^\| `(/[^`]*)` \| (GET|POST) \|", page, re.MULTILINE))
    there = {(path, verb.upper()) for path, item in api()["paths"].items() for verb in set(item) - {"parameters"}}
    assert told == there


def test_every_metric_and_alert_is_told() -> None:
    page = (DOCS / "metrics.md").read_text("utf-8")
    source = "\n".join(file.read_text("utf-8") for file in sorted((ROOT / "serving").rglob("metrics.py")))
    assert set(re.findall(r"`(slipway_\w+)`", page)) == set(re.findall(r'"(slipway_\w+)"', source))
    alerts = yaml.safe_load((ROOT / "manifests/monitoring/alerts.yaml").read_text("utf-8"))["spec"]["groups"]
    names = {rule["alert"] for group in alerts for rule in group["rules"]}
    assert set(re.findall(r"^\| `(Slipway\w+)` \|", page, re.MULTILINE)) == names


def leaves(command: Any, name: str) -> list[str]:
    """The full names of all commands."""
    if not isinstance(command, TyperGroup):
        return [name]
    return [leaf for word, inner in command.commands.items() for leaf in leaves(inner, f"{name} {word}")]


def test_every_command_is_told() -> None:
    page = (DOCS / "commands.md").read_text("utf-8")
    told = re.findall(r"^\| `(slipway [\w -]+)` \|", page, re.MULTILINE)
    assert sorted(told) == sorted(leaves(typer.main.get_command(app), "slipway"))


def test_every_target_of_the_makefile_is_told() -> None:
    assert set(re.findall(r"`make ([\w-]+)`", (DOCS / "commands.md").read_text("utf-8"))) == set(make_targets())


def test_the_exit_codes_are_those_of_the_errors() -> None:
    table = (DOCS / "commands.md").read_text("utf-8").partition("| code |")[2].partition("\n\n")[0]
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SlipwayError)]
    assert set(map(int, re.findall(r"^\| (\d) \|", table, re.MULTILINE))) == {0, *(kind.exit_code for kind in kinds)}


def test_the_calls_of_grpc_are_those_of_the_protocol() -> None:
    told = (DOCS / "http-grpc.md").read_text("utf-8").partition("## gRPC\n")[2].partition("Inputs and outputs")[0]
    service = grpc_predict_v2_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert set(re.findall(r"`(\w+)`", told)) == {method.name for method in service.methods}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_variables_of_the_environment_that_are_named_are_read(page: Path) -> None:
    named = {name for code in inline(page) for name in re.findall(r"\bSLIPWAY_[A-Z_]*[A-Z]\b", code)}
    spelt = {
        re.sub(r"^SLIPWAY_(TRAINERS|SERVERS)", "SLIPWAY_${role^^}", name) for name in named
    }  # as install.sh has them
    assert {name for name in spelt if name not in sources()} == set()


@cache
def sources() -> str:
    """The code that reads the environment."""
    files = [file for folder in ("components", "pipelines", "serving") for file in (ROOT / folder).rglob("*.py")]
    return "\n".join(file.read_text("utf-8") for file in (*files, *ROOT.glob("manifests/*.sh")))


def test_the_fields_of_the_form_are_told() -> None:
    table = (DOCS / "kubernetes.md").read_text("utf-8").partition("| field |")[2].partition("\n\n")[0]
    told = {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1] if "|" in row else "")
    }
    assert told == {*FIELDS, REST}


def test_nothing_is_fetched_from_elsewhere_by_the_site() -> None:
    assert yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["theme"]["font"] is False


def test_the_readme_shows_a_result_within_two_screens() -> None:
    before = (ROOT / "README.md").read_text("utf-8").partition("images/report.png")[0]
    assert len(before.splitlines()) < 2 * 40
