"""Starts, watches and ends the processes of a run on one machine."""

from deploy.supervising.child import (
    CHECKOUT,
    DETERMINISTIC_ARITHMETIC,
    LAUNCH_MARK,
    Child,
    child_environment,
    end_leftovers,
    with_import_path,
)
from deploy.supervising.display import NoteHandler, RunConsole
from deploy.supervising.live_block import LiveBlock
from deploy.supervising.monitor import RunMonitor, learner_status
from deploy.supervising.supervisor import EXIT_FAILED, Graces, StopRequests, Supervisor
from deploy.supervising.topology import SERVER_ROLES, processes

__all__ = [
    "CHECKOUT",
    "DETERMINISTIC_ARITHMETIC",
    "EXIT_FAILED",
    "LAUNCH_MARK",
    "SERVER_ROLES",
    "Child",
    "Graces",
    "LiveBlock",
    "NoteHandler",
    "RunConsole",
    "RunMonitor",
    "StopRequests",
    "Supervisor",
    "child_environment",
    "end_leftovers",
    "learner_status",
    "processes",
    "with_import_path",
]
