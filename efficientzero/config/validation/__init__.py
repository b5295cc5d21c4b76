"""What a config must be beyond the types of its fields."""

from efficientzero.config.validation.joint import validate

__all__ = ["validate"]
