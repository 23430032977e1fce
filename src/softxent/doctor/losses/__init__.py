"""torch's losses, as `examine` and `watch` meet them: which loss it is, and its calls."""
