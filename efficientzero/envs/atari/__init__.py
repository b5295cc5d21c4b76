"""Atari games: the emulator with EfficientZero's preprocessing, scores, JPEG frames."""
