"""The jobs that an experiment's configuration names."""
