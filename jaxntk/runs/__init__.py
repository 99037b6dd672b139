"""A run on disk: its folder, its rows, who computes which, and what is left at the end."""
