"""The arguments of a loss, as arrays or tensors: `check` and its rules."""
