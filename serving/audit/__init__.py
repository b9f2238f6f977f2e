"""The audit log: what is written, how lines are chained, and where they are kept."""
