"""What a user would pick instead: plain DQN and PPO on the same environments, evaluated alike."""
