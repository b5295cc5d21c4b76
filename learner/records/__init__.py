"""What a learner keeps and saves: counts, results, priorities, checkpoints."""
