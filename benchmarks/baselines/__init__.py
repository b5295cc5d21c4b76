"""Plain DQN, PPO and SAC on the same environments, evaluated in the same way."""
