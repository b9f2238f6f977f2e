"""A user of the `slipway` command, and the clients of what it serves."""

import csv
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.conftest import free_port

SLIPWAY = Path(sys.executable).parent / "slipway"
TOPICS = {
    "billing": ["invoice", "charged", "payment", "card", "bill", "price"],
    "delivery": ["parcel", "courier", "late", "package", "tracking", "doorstep"],
    "account": ["password", "login", "email", "locked", "account", "verify"],
}


WHOLE = 'the user\'s "whole" model'
"""A candidate's name, which is a text of the user's."""
WIDE = {"max_error_rise": 0.05, "max_slow_rise": 0.15, "max_accuracy_drop": 0.1}
"""Margins that few texts and seconds of traffic can show."""


class User:
    """Somebody with a folder, a data file, settings for a small and quick model, and the command `slipway`."""

    def __init__(self, folder: Path, encoder: Path, program: Path = SLIPWAY) -> None:
        self.folder, self.home, self.program = folder, folder / "home", program
        self.port = free_port()
        own = {"SLIPWAY_HOME": str(self.home), "SLIPWAY_KEYS": str(folder / "keys")}
        self.environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | own
        self.write_messages("messages.csv")
        settings = {
            "model_name": "messages",
            "data": {"source": "messages.csv", "near_duplicate_similarity": 1.0},
            "select": {"candidates": [{"name": WHOLE}, {"layers": 1}], "folds": 2, "epochs": 2},
            "train": {"encoder": str(encoder), "epochs": 6, "learning_rate": 0.01, "head_factor": 1.0, "batch_size": 8},
            "compress": {"distil_epochs": 1, "recovery_epochs": 1, "latency_rounds": 5, "learning_rate": 0.005},
            "evaluate": {"min_macro_f1": 0.6, "max_calibration_error": 0.5, "max_typo_drop": 1.0, "max_drop": 0.5},
            "rollout": {"http_port": self.port, "grpc_port": free_port(), "bake_s": 0.5, **WIDE},
        }
        (folder / "slipway.yaml").write_text(yaml.safe_dump(settings), "utf-8")

    def write_messages(self, name: str, text_column: str = "text") -> None:
        chance = random.Random(5)
        with (self.folder / name).open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow([text_column, "label"])
            for number in range(360):
                topic = list(TOPICS)[number % 3]
                rows.writerow([f"{' '.join(chance.sample(TOPICS[topic], 3))} please {number}", topic])

    def slipway(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [str(self.program), *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def python(self, code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run code in the environment that has the command; `-P` as notebooks, whose folder is not on the path."""
        command = [str(self.program.with_name("python")), "-P", "-c", code, *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def last_run(self) -> Path:
        return max((self.home / "runs").iterdir())

    def log(self, step: str) -> Path:
        """The log of a step of the last run."""
        return self.last_run() / "logs" / f"{step}.log"

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.slipway("status", "--json").stdout)
        return found


class Clients:
    """Two clients, which send requests one after the other: few at first, as many as they can once it gets busy."""

    BODY = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["parcel late again"]}]}

    def __init__(self, port: int, key: str, busy: Callable[[], bool]) -> None:
        self.busy = busy
        self.headers = {"authorization": f"Bearer {key}"}
        self.url = f"http://127.0.0.1:{port}/v2/models/messages/infer"
        self.sent, self.failed = 0, 0
        self._stopping, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._send) for _ in range(2)]

    def _send(self) -> None:
        with httpx.Client(headers=self.headers, timeout=20) as client:
            while not self._stopping.wait(0.02 if self.busy() else 0.2):
                try:
                    good = client.post(self.url, json=self.BODY).status_code == 200
                except httpx.HTTPError:
                    good = False
                with self._lock:
                    self.sent += 1
                    self.failed += not good

    def is_let_in(self) -> bool:
        """Whether the servers know the key by now."""
        return httpx.post(self.url, json=self.BODY, headers=self.headers, timeout=20).status_code == 200

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
