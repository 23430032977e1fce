"""Training logs: `audit_log`, the readers of the formats, and the rules."""
