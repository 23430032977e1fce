"""A mean over batches: `check_mean` and its rules."""
