"""Commands on saved runs: ``launch.py evaluate`` and ``launch.py search``."""
