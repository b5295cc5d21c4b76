"""Several hosts on one machine, for tests: network namespaces with addresses of their own.

Each host is joined by a cable to a switch, which is a bridge in a namespace of its own; nothing is
added to the machine's own network. A cable can be cut, and one can be long: a process hands its
frames on late (``long_cable.py``), as few kernels are built with tc's netem.
Needs root and iproute2.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
_SUBNET = "10.79.0"
_LONG_CABLE = Path(__file__).with_name("long_cable.py")


def what_is_missing() -> str:
    """Return why no hosts can be made here, or nothing."""
    if os.geteuid() != 0:
        return "hosts are network namespaces, which only root can make"
    if not (shutil.which("ip") and shutil.which("unshare")):
        return "hosts are made with ip and unshare: apt-get install iproute2 util-linux"
    if not Path("/dev/net/tun").exists():
        return "a long cable needs /dev/net/tun: modprobe tun"
    return ""


class HostProcess:
    """A program on a host, and what it printed."""

    def __init__(self, host: Host, arguments: tuple[str, ...], env: Mapping[str, str]) -> None:
        self.name = f"{' '.join(arguments[:2])} on {host.name}"
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  closed in end()
        command = f'hostname {host.name}; exec "$@"'
        self.process = subprocess.Popen(
            # Each of these becomes the next: the process id is the program's.
            [
                *("ip", "netns", "exec", host.namespace, "unshare", "--uts"),
                *("sh", "-c", command, "sh", sys.executable, *arguments),
            ],
            cwd=CHECKOUT,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    @property
    def output(self) -> str:
        """Everything printed so far."""
        handle = self._output.fileno()
        return os.pread(handle, os.fstat(handle).st_size, 0).decode(errors="replace")

    def wait(self, timeout_s: float) -> int:
        """Return the exit code."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name}: still running:\n{self.output}") from None

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self.process.wait(60.0)

    def end(self) -> None:
        """End it, politely at first."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60.0)
            except subprocess.TimeoutExpired:
                self.kill()
        self._output.close()


@dataclass(frozen=True, slots=True)
class Host:
    """A machine of its own, as far as the network can tell."""

    name: str
    namespace: str
    address: str
    port: str  # of the switch
    switch: str

    def cut(self) -> None:
        """Pull the cable."""
        _ip("-n", self.switch, "link", "set", self.port, "down")

    def heal(self) -> None:
        """Plug it in again."""
        _ip("-n", self.switch, "link", "set", self.port, "up")


class HostNetwork:
    """Hosts on one switch. Use as a context manager: nothing outlives it."""

    def __init__(self) -> None:
        self._switch = f"ez{os.getpid()}sw"
        self._hosts = 0
        self._stack = ExitStack()

    def __enter__(self) -> HostNetwork:
        self._stack.enter_context(_namespace(self._switch))
        _ip("-n", self._switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "br0", "up")
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def add(self, name: str, *, delay_ms: float = 0.0) -> Host:
        """Return a new host; ``delay_ms`` is how long a frame travels to or from the switch."""
        self._hosts += 1
        number = self._hosts
        port = f"p{number}"
        host = Host(
            name, f"ez{os.getpid()}h{number}", f"{_SUBNET}.{10 + number}", port, self._switch
        )
        self._stack.enter_context(_namespace(host.namespace))
        if delay_ms:
            self._stack.enter_context(self._long_cable(host, delay_ms))
        else:
            peer = ("type", "veth", "peer", "name", port, "netns", self._switch)
            _ip("-n", host.namespace, "link", "add", "eth0", *peer)
        _ip("-n", self._switch, "link", "set", port, "master", "br0", "up")
        _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
        _ip("-n", host.namespace, "link", "set", "eth0", "up")
        return host

    def start(self, host: Host, *arguments: str, env: Mapping[str, str]) -> HostProcess:
        """Start this Python with ``arguments`` on ``host``; it is ended with the network."""
        process = HostProcess(host, arguments, env)
        self._stack.callback(process.end)
        return process

    @contextmanager
    def _long_cable(self, host: Host, delay_ms: float) -> Iterator[None]:
        """Join host and switch by two taps and a process between them."""
        command = [sys.executable, str(_LONG_CABLE), host.port, "far0", str(delay_ms)]
        cable = subprocess.Popen(
            ["ip", "netns", "exec", self._switch, *command], stdout=subprocess.PIPE
        )
        try:
            assert cable.stdout is not None
            assert cable.stdout.readline() == b"ready\n", "the long cable did not start"
            rename = ("netns", host.namespace, "name", "eth0")
            _ip("-n", self._switch, "link", "set", "far0", *rename)
            yield
        finally:
            cable.kill()
            cable.wait(60.0)


@contextmanager
def _namespace(name: str) -> Iterator[None]:
    _ip("netns", "add", name)
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        yield
    finally:
        _ip("netns", "del", name)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()}"
    return done.stdout


def wait_until(
    what: str,
    is_reached: Callable[[], bool],
    timeout_s: float,
    *processes: HostProcess,
    others: Sequence[HostProcess] = (),
) -> None:
    """Wait for a condition while ``processes`` run; a failure shows what ``others`` said, too."""
    deadline = time.monotonic() + timeout_s
    while not is_reached():
        for process in processes:
            ended = process.process.poll()
            assert ended is None, f"{process.name} ended with {ended}:\n{process.output}"
        texts = "\n".join(f"--- {p.name}\n{p.output[-3000:]}" for p in (*processes, *others))
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s for {what}\n{texts}"
        time.sleep(0.2)
