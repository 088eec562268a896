"""Faults of other people's machines, one test a kind."""
