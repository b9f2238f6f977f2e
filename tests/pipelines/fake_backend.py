"""A small server that answers the few requests that Slipway makes of Kubeflow Pipelines, as the backend 2.17 does.

No Kubeflow Pipelines is here, so this server is the boundary. Its answers about a run have the shape of recorded ones:
each task stands beside its driver, both once for Argo's retry node and once for the pod, some entries have neither a
name nor a state, what did not run has no state, and an end that has not come is in the year 1.
"""

import json
import threading
import uuid
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

START = "2026-11-26T18:59:29Z"
NEVER = "0001-01-01T00:00:00Z"


def at(second: int | None) -> str:
    """A time of the API, so many seconds after 19:00; None for one that has not come."""
    return NEVER if second is None else f"2026-11-26T19:{second // 60:02}:{second % 60:02}Z"


def entry(name: str | None, state: str | None, start: int, end: int | None = None) -> dict[str, Any]:
    """One of `task_details`, with what is always there; what is None is left out."""
    times = {"create_time": START, "start_time": at(start), "end_time": at(end)}
    own = {"display_name": name, "state": state}
    history = {"state_history": [{"update_time": at(start), "state": state}]} if state else {}
    return {"run_id": "run-1", "task_id": uuid.uuid4().hex, **times} | {k: v for k, v in own.items() if v} | history


def task(name: str, state: str | None, start: int, end: int | None = None) -> Iterable[dict[str, Any]]:
    """The entries of a task that ran, runs, or did not run because another one failed."""
    if state is None:
        return [entry(f"{name}-driver", None, start, start), entry(name, None, start, start)]
    return [
        entry(f"{name}-driver(0)", "SUCCEEDED", start - 10, start - 7),
        entry(f"{name}-driver", "SUCCEEDED", start - 10, start),
        entry(name, state, start, end),
        entry(f"{name}(0)", state, start, end),
        entry("executor", state, start, end),
        entry(None, None, start, end),  # of MLMD, which knows its execution only
    ]


def run(state: str | None, *tasks: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """An answer about a run."""
    around = [entry("root", "RUNNING", 0), entry("root(0)", "RUNNING", 0), entry("slipway-6b5q9", "RUNNING", 0)]
    details = [*around, *(entry for entries in tasks for entry in entries)]
    return {"state": state, "error": None, "run_details": {"task_details": details}}


class Kubeflow(ThreadingHTTPServer):
    """Runs, each with the answers that follow one another; an optional token; everything that was sent.

    An answer is JSON, or a status code with which one request is refused.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.daemon_threads = True
        self.token = ""
        self.healthz: tuple[int, object] = (200, {"multi_user": False})
        self.looks: list[dict[str, Any] | int] = [{"state": "SUCCEEDED"}]
        self.runs: list[dict[str, Any]] = []
        self.experiments: dict[str, str] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Requests(BaseHTTPRequestHandler):
    server: Kubeflow

    def answer(self, code: int, body: Any) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def refused(self) -> bool:
        if not self.server.token or self.headers.get("Authorization") == f"Bearer {self.server.token}":
            return False
        self.answer(401, {"error_message": "Unauthorized"})
        return True

    def do_GET(self) -> None:  # noqa: N802  # the base class names it
        path, _, query = self.path.partition("?")
        if self.refused():
            return
        if path == "/apis/v2beta1/healthz":
            self.answer(*self.server.healthz)
        elif path == "/apis/v2beta1/experiments":
            found = [
                {"experiment_id": number, "display_name": name}
                for name, number in self.server.experiments.items()
                if name in query
            ]
            self.answer(200, {"experiments": found} if found else {})
        elif path == "/apis/v2beta1/runs/run-1":
            looks = self.server.looks
            look = looks.pop(0) if len(looks) > 1 else looks[0]
            if isinstance(look, int):
                self.answer(look, {"error_message": "no healthy upstream"})
            else:
                self.answer(200, {"run_id": "run-1"} | look)
        else:
            self.answer(404, {"error_message": f"no {path}"})

    def do_POST(self) -> None:  # noqa: N802
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.refused():
            return
        if self.path == "/apis/v2beta1/experiments":
            self.server.experiments[body["display_name"]] = "experiment-1"
            self.answer(200, {"experiment_id": "experiment-1"} | body)
        else:
            self.server.runs.append(body)
            self.answer(200, {"run_id": "run-1"})

    def log_message(self, *_: Any) -> None:
        """Nothing."""
