"""Starts, watches and ends the processes of a run on one machine."""

from deploy.supervising.child import CHECKOUT, LAUNCH_MARK, end_leftovers, with_import_path
from deploy.supervising.live_block import LiveBlock
from deploy.supervising.local_run import Plan, run_locally
from deploy.supervising.monitor import RunMonitor, learner_status
from deploy.supervising.stop_requests import StopRequests
from deploy.supervising.topology import places

__all__ = [
    "CHECKOUT",
    "LAUNCH_MARK",
    "LiveBlock",
    "Plan",
    "RunMonitor",
    "StopRequests",
    "end_leftovers",
    "learner_status",
    "places",
    "run_locally",
    "with_import_path",
]
