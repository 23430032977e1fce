"""A training loop while it runs: `watch`, what it measures, and the rules."""
