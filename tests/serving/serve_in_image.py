"""Start a model server that can import no more than its image has: `python serve_in_image.py ARGUMENTS`.

The image has the standard library, the packages of `requirements-serving.lock` and what the Dockerfile copies. The last
line on stderr is a JSON list of the modules of `slipway.components` that were imported.
"""

import json
import re
import sys
from collections.abc import Sequence
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def packages_beyond_the_image() -> set[str]:
    """The top-level names of the packages that are installed here, and not in the lock."""
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements-serving.lock").read_text("utf-8"), re.MULTILINE))
    return {
        name
        for name, distributions in packages_distributions().items()
        if not locked & {re.sub(r"[-_.]+", "-", distribution).lower() for distribution in distributions}
    }


def components_of_the_image() -> set[str]:
    """The modules that the Dockerfile copies to the image of model servers."""
    files = re.findall(r"\b(components/[\w/]+)\.py", (ROOT / "Dockerfile").read_text("utf-8"))
    return {f"slipway.{file.replace('/', '.').removesuffix('.__init__')}" for file in files}


class OnlyOfTheImage(MetaPathFinder):
    """Finds nothing, and ends the search for what the image does not have."""

    def __init__(self) -> None:
        self._beyond = (packages_beyond_the_image() | {"benchmarks", "components", "pipelines", "serving", "tests"}) - {
            "slipway"
        }
        self._components = components_of_the_image()

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:  # noqa: ARG002
        """See `MetaPathFinder`."""
        top = name.partition(".")[0]
        lacking = name.startswith(("slipway.components", "slipway.pipelines")) and name not in self._components
        if top in self._beyond or lacking:
            raise ModuleNotFoundError(f"the image of model servers has no {name}", name=name)


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    sys.meta_path.insert(0, OnlyOfTheImage())
    from slipway.serving.__main__ import main

    code = main(sys.argv[1:])
    print(json.dumps(sorted(name for name in sys.modules if name.startswith("slipway.components"))), file=sys.stderr)
    sys.exit(code)
