"""Benchmark tables that are made here, and their data cards."""
