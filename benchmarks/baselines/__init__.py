"""Plain DQN and PPO on the same environments, evaluated in the same way."""
