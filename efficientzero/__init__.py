"""EfficientZero: all that two processes share. The roles beside this package are its users."""

__version__ = "0.1.0"
