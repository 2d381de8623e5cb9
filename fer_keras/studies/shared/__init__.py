"""What studies share: models, series of runs, maps, output."""
