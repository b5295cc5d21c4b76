"""A cable that hands every frame on late: ``long_cable.py NAME NAME MILLISECONDS``.

Makes a tap for each end, in the network namespace it runs in, and prints ``ready``. The kernel
completes checksums and cuts large segments before a frame gets here, as it does for any tap.
"""

import fcntl
import os
import select
import struct
import sys
import time
from collections import deque

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_FRAME_BYTES = 65_536


def open_tap(name: str) -> int:
    """Create a tap and return its file."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return tap


def main() -> None:
    names, delay_s = sys.argv[1:3], float(sys.argv[3]) / 1_000.0
    one, other = (open_tap(name) for name in names)
    print("ready", flush=True)
    target = {one: other, other: one}
    travelling: deque[tuple[float, int, bytes]] = deque()  # due, target, frame
    while True:
        wait_s = max(0.0, travelling[0][0] - time.monotonic()) if travelling else None
        for tap in select.select([one, other], [], [], wait_s)[0]:
            try:
                frame = os.read(tap, _FRAME_BYTES)
            except OSError:  # that end is down
                continue
            travelling.append((time.monotonic() + delay_s, target[tap], frame))
        while travelling and travelling[0][0] <= time.monotonic():
            _, tap, frame = travelling.popleft()
            try:
                os.write(tap, frame)
            except OSError:  # that end is down, or its queue is full: the frame is lost
                continue


if __name__ == "__main__":
    main()
