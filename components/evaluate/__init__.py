"""Step `evaluate`: compare challenger and champion on the test split, and decide by the quality gate, with reasons."""
