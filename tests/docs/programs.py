"""Rules for the commands that the documentation shows. Each takes the words of a command, and asserts."""

import importlib.util
import re
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import typer
import yaml
from typer.core import TyperGroup

from slipway.pipelines.cli.main import app
from slipway.pipelines.settings import load_settings
from slipway.serving.limits import Limits
from slipway.serving.rest_api.openapi import document
from slipway.serving.rest_api.schemas import Served
from tests.docs.pages import ROOT

KIND = yaml.safe_load((ROOT / "kind-cluster.yaml").read_text("utf-8"))
PLACEHOLDER = re.compile(r"ID|NAME|POD|FILE|FOLDER|RUN|STEP|COMMAND|SECTION\.FIELD=VALUE")


def slipway(words: list[str]) -> None:
    """The real command line takes it, and the settings are such as are there."""
    command, arguments = typer.main.get_command(app), words[1:]
    overrides = [value for name, value in zip(arguments, arguments[1:], strict=False) if name == "--set"]
    load_settings(ROOT / "slipway.yaml", [override for override in overrides if not PLACEHOLDER.search(override)])
    name = "slipway"
    while isinstance(command, TyperGroup):
        word = arguments[0] if arguments else ""
        assert word in command.commands, f"{name} has no command {word!r}"
        name, command, arguments = word, command.commands[word], arguments[1:]
    try:
        command.make_context(name, list(arguments))
    except Exception as error:  # of the parser's own classes
        raise AssertionError(f"slipway does not take {' '.join(words)}: {error or type(error).__name__}") from error


@cache
def make_targets() -> frozenset[str]:
    """The targets of the Makefile."""
    text = (ROOT / "Makefile").read_text("utf-8")
    found = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert found is not None
    return frozenset(found[1].split())


def make(words: list[str]) -> None:
    """The targets are there."""
    for word in words[1:]:
        assert "=" in word or word in make_targets(), f"no target {word} in the Makefile"


def python(words: list[str]) -> None:
    """The module is there."""
    if words[1] == "-m":
        assert importlib.util.find_spec(words[2]), f"no module {words[2]}"
    else:
        assert words[1] == "-c", f"python {words[1]}: give -m or -c"
        compile(words[2], "the documentation", "exec")


def pytest(words: list[str]) -> None:
    """The paths are there."""
    marks = words[words.index("-m") + 1] if "-m" in words else ""
    for path in (word for word in words[1:] if not word.startswith("-") and word != marks):
        assert (ROOT / path).exists(), f"no {path} to test"
    for mark in re.findall(r"\w+", marks):
        assert mark in ("not", "and", "or") or f'"{mark}:' in (ROOT / "pyproject.toml").read_text("utf-8"), mark


def install(words: list[str]) -> None:
    """The parts are functions of install.sh."""
    script = (ROOT / "manifests" / "install.sh").read_text("utf-8")
    for word in words[1:]:
        wanted = re.escape(word) if word.startswith("-") else rf"^{word}\(\) {{"
        assert re.search(wanted, script, re.MULTILINE), f"install.sh has no {word}"


def images() -> set[str]:
    """The images that the overlay for kind names."""
    overlay = yaml.safe_load((ROOT / "manifests/overlays/kubeflow/kustomization.yaml").read_text("utf-8"))
    return {f"{image['newName']}:{image['newTag']}" for image in overlay["images"]}


def docker(words: list[str]) -> None:
    """It builds an image of the manifests, at a stage that the Dockerfile has."""
    assert words[1] == "build", words
    image = words[words.index("-t") + 1]
    assert image in images(), f"{image} is none of {images()}"
    if "--target" in words:
        stage = words[words.index("--target") + 1]
        assert f" AS {stage}\n" in (ROOT / "Dockerfile").read_text("utf-8")


def kind(words: list[str]) -> None:
    """It makes the cluster of kind-cluster.yaml, or gives it the images of the manifests."""
    if words[1:3] == ["create", "cluster"]:
        assert (ROOT / words[words.index("--config") + 1]).is_file()
    else:
        assert words[1:3] == ["load", "docker-image"], words
        assert words[words.index("--name") + 1] == KIND["name"]
        assert set(words[3 : words.index("--name")]) <= images()


def kubectl(words: list[str]) -> None:
    """The kustomization is there, as are a forwarded service's port and the label that goes; other verbs only read."""
    verb = words[1]
    if verb in ("apply", "delete"):
        assert "-k" in words, "objects of our kustomizations alone"
        folder = ROOT / words[words.index("-k") + 1]
        assert (folder / "kustomization.yaml").is_file(), f"{folder} has no kustomization.yaml"
    elif verb == "port-forward":
        place, ports = words[-2], words[-1]
        assert (place, ports.rpartition(":")[2]) in {*services(), ("service/ml-pipeline-ui", "80")}, words
    elif verb == "label":
        namespace = yaml.safe_load((ROOT / "manifests/base/namespace.yaml").read_text("utf-8"))["metadata"]
        assert words[2:4] == ["namespace", namespace["name"]], words
        assert words[4].removesuffix("-") in namespace["labels"], words
    else:
        assert verb in ("get", "logs", "describe", "wait", "annotate"), f"no rule for kubectl {verb}"


def services() -> set[tuple[str, str]]:
    """The services of the base and their ports."""
    found = set()
    for file in (ROOT / "manifests" / "base").glob("*.yaml"):
        for item in filter(None, yaml.safe_load_all(file.read_text("utf-8"))):
            if item["kind"] == "Service":
                found |= {(f"service/{item['metadata']['name']}", str(port["port"])) for port in item["spec"]["ports"]}
    return found


@cache
def api() -> dict[str, Any]:
    """The OpenAPI document of a server."""
    return document(Served("messages", "1", ("a", "b"), Limits(), secured=True))


def curl(words: list[str]) -> None:
    """The server has the path, with the verb."""
    address = next(word for word in words[1:] if re.match(r"https?://|localhost", word))
    path = urlsplit(address if "://" in address else f"http://{address}").path
    if path == "/apis/v2beta1/healthz":  # of Kubeflow Pipelines
        return
    verb = "post" if "-d" in words else "get"
    found = [item for template, item in api()["paths"].items() if re.fullmatch(_pattern(template), path)]
    assert any(verb in item for item in found), f"the server has no {verb} {path}"


def _pattern(template: str) -> str:
    """A path of OpenAPI as a regular expression."""
    return re.sub(r"\\\{\w+\\\}", "[^/:]+", re.escape(template))


def activate(words: list[str]) -> None:
    """Only the environment of `make setup` is read in."""
    assert words[1] == ".venv/bin/activate", words


def anything(words: list[str]) -> None:
    """A program of the system, or one that a test runs for real."""


RULES: dict[str, Callable[[list[str]], None]] = {
    "slipway": slipway,
    "make": make,
    "python": python,
    "pytest": pytest,
    "manifests/install.sh": install,
    "docker": docker,
    "kind": kind,
    "kubectl": kubectl,
    "curl": curl,
    ".": activate,
    "pre-commit": anything,
    **dict.fromkeys(("sed", "head", "tar", "base64", "value"), anything),
}


def check(words: list[str]) -> None:
    """Hold one command against what is there.

    Raises:
        AssertionError: it would not work, or no rule knows the program.
    """
    program = words[0].removeprefix(".venv/bin/")
    assert program in RULES, f"no rule of tests/docs/programs.py knows {program!r}: {' '.join(words)}"
    RULES[program](words)
