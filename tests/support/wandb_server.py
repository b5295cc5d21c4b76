"""A stand-in for wandb's server on loopback: enough of its HTTP API for the real client.

GraphQL (make a run, ask for one to resume, get upload addresses), the stream of rows, and uploads
of files. A test can hold its answers back, make it refuse, or take it away and bring it back.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_STREAM = re.compile(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream")
_UPLOAD = re.compile(r"/storage/([^/]+)/([^/]+)/([^/]+)/(.+)")


@dataclass
class ServerRun:
    """One run as the server was told of it."""

    group: str = ""
    job_type: str = ""
    name: str = ""
    host: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Line number -> row: what is sent again takes the place of what was there."""
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return the rows in order; there must be no gap."""
        assert sorted(self.history) == list(range(len(self.history)))
        return [self.history[line] for line in sorted(self.history)]


class WandbServer:
    """The server. Use as a context manager."""

    def __init__(self, port: int = 0) -> None:
        self.runs: dict[tuple[str, str, str], ServerRun] = {}
        """(entity, project, id) -> run."""
        self.requests: Counter[str] = Counter()
        """GraphQL operation, or "stream" or "upload" -> how often it was asked for."""
        self.refuse: dict[str, int] = {}
        """Such requests are answered with this status."""
        self.open_gate = threading.Event()
        """While it is not set, requests in ``held_back`` get no answer."""
        self.open_gate.set()
        self.held_back: set[str] = set()
        self.reached = threading.Condition()
        self._http = ThreadingHTTPServer(("127.0.0.1", port), _handler_of(self))
        self._http.daemon_threads = True
        self.port: int = self._http.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to take this for wandb's server."""
        loopback = "127.0.0.1,localhost"
        return {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": "0" * 40,
            "NO_PROXY": loopback,
            "no_proxy": loopback,
        }

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.open_gate.set()
        self.go_away()

    def go_away(self) -> None:
        """Listen no more; what is connected is cut at its next request."""
        self.refuse = {"": 503}
        self._http.shutdown()
        self._http.server_close()

    def wait_for(self, what: str, *, timeout_s: float = 60.0) -> None:
        """Wait until ``what`` was asked for."""
        with self.reached:
            came = self.reached.wait_for(lambda: self.requests[what] > 0, timeout_s)
        assert came, f"no {what} in {timeout_s} s: got {dict(self.requests)}"

    def wait_for_runs(self, number: int, *, timeout_s: float = 120.0) -> None:
        """Wait until the server was told of so many runs."""
        with self.reached:
            came = self.reached.wait_for(lambda: len(self.runs) >= number, timeout_s)
        assert came, f"got {len(self.runs)} runs in {timeout_s} s, wanted {number}"

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body for a request."""
        if path.rstrip("/") == "/graphql":
            request = json.loads(body)
            what, act = _operation(request), lambda: self._graphql(request)
        elif match := _STREAM.fullmatch(path):
            what, act = "stream", lambda: self._stream(match.groups(), json.loads(body))
        elif match := _UPLOAD.fullmatch(path):
            what, act = "upload", lambda: self._upload(match.groups(), body)
        else:
            what, act = path, dict
        with self.reached:
            self.requests[what] += 1
            self.reached.notify_all()
        if what in self.held_back:
            self.open_gate.wait()
        status = self.refuse.get(what, self.refuse.get("", 200))
        answer = act() if status == 200 else {"error": "refused by the test"}
        with self.reached:
            self.reached.notify_all()
        return status, json.dumps(answer).encode()

    def _stream(self, key: tuple[Any, ...], body: dict[str, Any]) -> dict[str, Any]:
        run = self._run(*key)
        for name, part in (body.get("files") or {}).items():
            lines = [json.loads(line) for line in part["content"]] if "json" in name else []
            if name.endswith("wandb-history.jsonl"):
                run.history.update(enumerate(lines, part.get("offset", 0)))
            elif name.endswith("wandb-summary.json"):
                run.summary = lines[-1]
        if body.get("complete"):
            run.exit_code = body.get("exitcode")
        return {"limits": {}}

    def _upload(self, key: tuple[Any, ...], body: bytes) -> dict[str, Any]:
        *run, name = key
        self._run(*run).files[name] = body
        return {}

    def _run(self, entity: str, project: str, run_id: str) -> ServerRun:
        return self.runs.setdefault((entity, project, run_id), ServerRun())

    def _graphql(self, request: dict[str, Any]) -> dict[str, Any]:
        query, told = request["query"], request.get("variables") or {}
        entity = told.get("entity") or told.get("entityName") or ""
        project = told.get("project") or told.get("projectName") or ""
        if "upsertBucket" in query:
            return self._upsert(entity, project, told)
        if "RunResumeStatus" in _operation(request):
            bucket = self._bucket(entity, project, told["name"])
            return _data(model={**_project(entity, project), "bucket": bucket})
        if "createRunFiles" in query:
            place = f"{self.url}/storage/{entity}/{project}/{told['run']}"
            files = [{"name": name, "uploadUrl": f"{place}/{name}"} for name in told["files"]]
            return _data(createRunFiles={"runID": told["run"], "uploadHeaders": [], "files": files})
        if "serverInfo" in query and "features" in query:
            return _data(serverInfo={"features": []})
        return _data()

    def _upsert(self, entity: str, project: str, told: dict[str, Any]) -> dict[str, Any]:
        is_new = (entity, project, told["name"]) not in self.runs
        run = self._run(entity, project, told["name"])
        # Later calls change a few things and leave the others empty.
        run.group = told.get("groupName") or run.group
        run.job_type = told.get("jobType") or run.job_type
        run.name = told.get("displayName") or run.name
        run.host = told.get("host") or run.host
        if told.get("config"):
            run.config = {k: v["value"] for k, v in json.loads(told["config"]).items()}
        bucket = {
            "id": _id(told["name"]),
            "name": told["name"],
            "displayName": run.name,
            "description": "",
            "config": "{}",
            "sweepName": None,
            "historyLineCount": len(run.history),
            "project": _project(entity, project),
        }
        return _data(upsertBucket={"inserted": is_new, "bucket": bucket})

    def _bucket(self, entity: str, project: str, run_id: str) -> dict[str, Any] | None:
        run = self.runs.get((entity, project, run_id))
        if run is None:
            return None
        return {
            "id": _id(run_id),
            "name": run_id,
            "displayName": run.name,
            "summaryMetrics": json.dumps(run.summary),
            "logLineCount": 0,
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in run.rows[-1:]]),
            "eventsTail": "[]",
            "config": json.dumps({k: {"value": v} for k, v in run.config.items()}),
            "tags": [],
            "notes": None,
            "wandbConfig": json.dumps({"t": 1}),
        }


def _handler_of(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = server.answer(self.path, body)
            with contextlib.suppress(ConnectionError):  # the client gave up waiting
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        do_PUT = do_POST  # noqa: N815

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # killed together with its process
                super().handle()

        def log_message(self, *args: object) -> None:
            pass

    return Handler


def _operation(request: dict[str, Any]) -> str:
    named = re.match(r"\s*(?:query|mutation)\s+(\w+)", request["query"])
    return request.get("operationName") or (named[1] if named else "probe")


def _project(entity: str, project: str) -> dict[str, Any]:
    return {
        "id": _id(project),
        "name": project,
        "entity": {"id": _id(entity), "name": entity},
    }


def _data(**answers: Any) -> dict[str, Any]:
    return {"data": answers}


def _id(name: str) -> str:
    return base64.b64encode(name.encode()).decode()
