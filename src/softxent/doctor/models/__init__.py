"""A torch model on one batch: `examine`, what it measures, and the rules."""
