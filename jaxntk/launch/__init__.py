"""Starts experiments on other machines: the exact commands first, then their execution."""
