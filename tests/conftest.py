"""What every test may rely on: one CPU thread, no uploads, the same examples every time."""

import os

from hypothesis import settings

# Before torch is imported anywhere: several small processes on few cores.
os.environ["OMP_NUM_THREADS"] = "1"
# A developer's wandb account must not receive test runs, and no test may need a network.
os.environ["WANDB_MODE"] = "offline"
for _name in ("WANDB_API_KEY", "WANDB_RUN_ID", "WANDB_RUN_GROUP", "WANDB_NAME", "WANDB_SERVICE"):
    os.environ.pop(_name, None)

# No deadline: a slow machine is no failure.
settings.register_profile("project", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("project")
