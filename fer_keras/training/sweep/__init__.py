"""Many trainings of one experiment with other settings."""
