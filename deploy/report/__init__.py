"""The report on finished runs: ``python -m deploy.report RUNS… --out DIR``."""
