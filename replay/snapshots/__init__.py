"""The replay service's snapshots on disk."""
