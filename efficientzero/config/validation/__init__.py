"""What a config must be beyond the types of its fields."""

from efficientzero.config.validation.devices import check_devices, is_device
from efficientzero.config.validation.joint import validate

__all__ = ["check_devices", "is_device", "validate"]
