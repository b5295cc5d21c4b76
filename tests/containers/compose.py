"""The compose file on a real engine, for tests: containers are looked at and hurt from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

CHECKOUT = Path(__file__).resolve().parents[2]
_COMPOSE_FILE = CHECKOUT / "deploy" / "docker-compose.yml"


def what_is_missing() -> str:
    """Return why no containers can be started here, or nothing."""
    if shutil.which("docker") is None:
        return "needs docker: apt-get install docker.io"
    if _run("docker", "version").returncode != 0:
        return "no docker engine answers: start dockerd, or set DOCKER_HOST"
    if not _compose_command():
        return "needs docker compose: apt-get install docker-compose"
    if os.geteuid() != 0:
        return "kills containers from outside, which needs root"
    return ""


def build_image() -> float:
    """Build deploy/Dockerfile as ``efficientzero`` and return its size in MB.

    ``DOCKER_BUILD_ARGS`` are handed on, such as ``--build-arg TORCH_CPU_INDEX=...``.
    """
    extra = os.environ.get("DOCKER_BUILD_ARGS", "").split()
    command = ["docker", "build", "-f", "deploy/Dockerfile", "-t", "efficientzero", *extra, "."]
    done = _run(*command, env={"DOCKER_BUILDKIT": os.environ.get("DOCKER_BUILDKIT", "0")})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    size = _run("docker", "image", "inspect", "--format", "{{.Size}}", "efficientzero")
    return int(size.stdout) / 1e6


class Compose:
    """One project. Use as a context manager: containers and volumes go with it."""

    def __init__(self, project: str, env: dict[str, str]) -> None:
        self._command = (*_compose_command(), "-p", project, "-f", str(_COMPOSE_FILE))
        # A busy engine takes more than the minute that compose 1.29 gives it.
        self._project, self._env = project, {"COMPOSE_HTTP_TIMEOUT": "600", **env}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self("down", "--volumes", "--timeout", "20")

    def __call__(self, *arguments: str) -> str:
        """Run a verb of compose and return what it printed."""
        done = _run(*self._command, *arguments, env=self._env)
        assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
        return done.stdout

    def up(self, **scale: int) -> None:
        """Start everything, with so many containers of the roles named."""
        scales = [w for role, count in scale.items() for w in ("--scale", f"{role}={count}")]
        self("up", "-d", "--no-build", *scales)

    def containers(self, role: str) -> list[dict[str, Any]]:
        """Return what the engine knows of the role's containers, those that ended included."""
        labels = (f"project={self._project}", f"service={role}")
        filters = [w for x in labels for w in ("--filter", f"label=com.docker.compose.{x}")]
        ids = _run("docker", "ps", "-aq", *filters).stdout.split()
        return json.loads(_run("docker", "inspect", *ids).stdout) if ids else []

    def running(self, role: str) -> list[dict[str, Any]]:
        """Return those that run."""
        return [c for c in self.containers(role) if c["State"]["Running"]]

    def health(self, role: str) -> list[str]:
        """Return starting, healthy or unhealthy, of each that runs."""
        return [c["State"]["Health"]["Status"] for c in self.running(role)]

    def logs(self, role: str) -> str:
        """Return what the role's containers printed."""
        return self("logs", "--no-color", role)

    def status(self) -> dict[str, Any] | None:
        """Ask the learner; None while it does not answer."""
        for learner in self.running("learner"):
            ask = ("python", "launch.py", "status", "127.0.0.1:7400", "--json")
            done = _run("docker", "exec", learner["Id"], *ask)
            if done.returncode == 0:
                return json.loads(done.stdout[done.stdout.index("{") :])
        return None

    def wait_until(
        self, what: str, is_reached: Callable[[], Any], timeout_s: float, *, look_s: float = 0.5
    ) -> float:
        """Wait, looking every ``look_s``; return the seconds it took."""
        started = time.monotonic()
        while not is_reached():
            waited = time.monotonic() - started
            if waited > timeout_s:
                roles = ("learner", "replay", "actor")
                logs = "\n".join(self.logs(role)[-2500:] for role in roles)
                raise AssertionError(f"waited {waited:.0f} s for {what}\n{logs}")
            time.sleep(look_s)
        return time.monotonic() - started

    def wait_for_status(
        self, what: str, is_reached: Callable[[dict[str, Any]], bool], timeout_s: float = 300.0
    ) -> dict[str, Any]:
        """Return the first status that is as wanted."""
        seen: list[dict[str, Any]] = []

        def look() -> bool:
            status = self.status()
            seen[:] = [status] if status else []
            return status is not None and is_reached(status)

        # Asking starts a Python in the learner's container, out of the learner's share of the CPU.
        self.wait_until(what, look, timeout_s, look_s=3.0)
        return seen[0]

    def signal(self, container: dict[str, Any], signum: int) -> None:
        """Signal a container's program from outside: the engine takes it for a crash.

        Under ``init: true`` the first process is the init; its only child is the role.
        """
        init = container["State"]["Pid"]
        (child,) = Path(f"/proc/{init}/task/{init}/children").read_text().split()
        os.kill(int(child), signum)

    def run(self, *command: str) -> str:
        """Return what a command prints in a container of its own, with the run folders' volume."""
        volume = f"{self._project}_runs:/runs"
        done = _run("docker", "run", "--rm", "-v", volume, "efficientzero", *command)
        assert done.returncode == 0, done.stderr
        return done.stdout


def _compose_command() -> tuple[str, ...]:
    if _run("docker", "compose", "version").returncode == 0:
        return ("docker", "compose")
    return ("docker-compose",) if shutil.which("docker-compose") else ()


def _run(*command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=CHECKOUT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
