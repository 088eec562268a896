"""Vectors to texts: the project's inverter, vec2text's inverters, and training."""

from lvm.inversion.inverter import PrefixInverter
from lvm.inversion.protocol import Candidate, Inverted, Inverter

__all__ = ["Candidate", "Inverted", "Inverter", "PrefixInverter"]
