"""A worker's process: its command line, its place in a run, its tracker."""

from efficientzero.worker.role_arguments import RoleArguments, parse_server_line
from efficientzero.worker.run_tracking import run_tracker, tracked
from efficientzero.worker.worker import Place, run_worker

__all__ = ["Place", "RoleArguments", "parse_server_line", "run_tracker", "run_worker", "tracked"]
