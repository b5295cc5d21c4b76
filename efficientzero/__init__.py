"""EfficientZero: code shared by several processes. The packages of the roles use it."""

__version__ = "0.1.0"
