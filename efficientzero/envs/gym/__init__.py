"""gymnasium's environments: their observations, numbered actions and masks."""

from efficientzero.envs.gym.env import GymEnv

__all__ = ["GymEnv"]
