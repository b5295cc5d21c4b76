"""Calls that send headers and no message, and what they cost those who send both."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from efficientzero.rpc.channel import open_channel
from efficientzero.rpc.stubs import run_pb2, run_pb2_grpc

_PROMPT_S, _BUSY_S = 0.1, 3.0
"""Most that the quickest and the median answer take; other tests may hold up any one of them.
Behind a half-open call an answer takes ten seconds."""


def check_answers_are_prompt(address: str, credentials: Path | None = None) -> None:
    """Make some legitimate calls, on a connection made for them, and look how long they take."""
    seconds = []
    with open_channel(address, credentials=credentials) as channel:
        stub = run_pb2_grpc.RunServiceStub(channel)
        for _ in range(20):
            started = time.monotonic()
            stub.GetStatus(run_pb2.GetStatusRequest(), timeout=60.0)
            seconds.append(time.monotonic() - started)
    quickest, median = min(seconds), statistics.median(seconds)
    assert quickest < _PROMPT_S, f"the quickest call took {quickest:.2f} s"
    assert median < _BUSY_S, f"a call took {median:.2f} s"


async def hold_calls(
    address: str, count: int, held: threading.Event, done: threading.Event, token: str | None = None
) -> int:
    """Open calls that send headers and no message; return how many were refused meanwhile."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(20)]
    name = "/efficientzero.RunService/GetStatus"
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    calls = [channels[i % 20].stream_unary(name)(metadata=metadata) for i in range(count)]
    await asyncio.sleep(2.5)  # calls younger than a second do not give way
    held.set()
    await asyncio.to_thread(done.wait, 60.0)
    if token is None:  # each of them is refused as soon as the server reads it
        until = time.monotonic() + 60.0
        while not all(call.done() for call in calls) and time.monotonic() < until:
            await asyncio.sleep(0.05)
    refused = sum(call.done() for call in calls)
    for call in calls:
        call.cancel()
    for channel in channels:
        await channel.close()
    return refused


@contextmanager
def half_open_calls(address: str, count: int, token: str | None = None) -> Iterator[list[int]]:
    """Hold half-open calls for a while; the list has afterwards how many of them were refused."""
    held, done, refused = threading.Event(), threading.Event(), []

    def hold() -> None:
        refused.append(asyncio.run(hold_calls(address, count, held, done, token)))

    attack = threading.Thread(target=hold)
    attack.start()
    try:
        assert held.wait(60.0)
        yield refused
    finally:
        done.set()
        attack.join(150.0)
