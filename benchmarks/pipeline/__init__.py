"""Replay, actors and the pace between processes, measured as they run."""
