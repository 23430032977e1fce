"""Predictions compared with labels: `check_predictions` and its rules."""
