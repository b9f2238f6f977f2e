"""A real Prometheus, where the machine has one: Debian's package `prometheus`, say."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

needed = pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus and promtool are not installed")


@contextmanager
def running(folder: Path, *scraped: dict[str, Any]) -> Iterator[str]:
    """The address of a Prometheus that scrapes every second.

    Args:
        folder: an empty one, for its configuration and its data.
        scraped: scrape configurations, as in `scrape_configs`.
    """
    (folder / "prometheus.yml").write_text(
        yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": list(scraped)}), "utf-8"
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], cwd=folder, stderr=log)
    try:
        wait_for(lambda: _is_ready(f"http://{address}"), folder / "log")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


def wait_for(condition: Callable[[], bool], log: Path | None = None, seconds: float = 60.0) -> None:
    """Return when something has become true."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, log.read_text("utf-8") if log else "it never became true"
        time.sleep(0.2)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
