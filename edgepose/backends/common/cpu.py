"""Which instructions this CPU multiplies 8-bit integers with: as boards find it out themselves."""

from edgepose.device.cpu import SATURATING, instruction_set

__all__ = ["SATURATING", "instruction_set"]
