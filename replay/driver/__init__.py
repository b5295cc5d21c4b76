"""The only modules that use Reverb: its client and server, and patches of both."""

from replay.driver.bind_address import BindAddress
from replay.driver.column_writer import CellRef, ColumnWriter
from replay.driver.foreign_pid import ForeignPid
from replay.driver.quarantine import PoisonedReplay, Quarantine

__all__ = ["BindAddress", "CellRef", "ColumnWriter", "ForeignPid", "PoisonedReplay", "Quarantine"]
