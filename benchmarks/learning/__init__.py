"""The learning bench: small real tasks, trained through ``launch.py``, next to two baselines."""
