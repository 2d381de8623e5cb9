"""MLflow, which no other room imports."""
