"""The reanalyzer: fresh targets for old data."""
