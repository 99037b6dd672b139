"""Searches guided by scores, from configuration to report."""
