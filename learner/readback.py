"""Numbers on their way from the device to the host, so that nobody has to wait for them.

Used by ``learner.update`` for what the host must know of each train_step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from efficientzero.schema import F64


class Readback:
    """A copy to the host that has been asked for; on a CPU it is there at once."""

    def __init__(self, numbers: Tensor) -> None:
        """Ask for ``numbers``, f32 [N], as they will be when the work asked for before is done."""
        self._event: torch.cuda.Event | None = None
        if numbers.device.type == "cuda":
            self._host = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            self._host.copy_(numbers, non_blocking=True)
            # A blocking event lets the host's core go while it waits.
            self._event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(numbers.device))
        else:
            self._host = numbers

    def is_ready(self) -> bool:
        """Tell whether ``wait`` would return at once."""
        return self._event is None or bool(self._event.query())  # type: ignore[no-untyped-call]

    def wait(self) -> F64:
        """Return the numbers [N]; waits for this copy, not for work asked for later."""
        if self._event is not None:
            self._event.synchronize()
        numbers: F64 = self._host.double().numpy()
        return numbers
