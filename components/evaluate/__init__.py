"""Step `evaluate`: the challenger against the champion on the test split; the quality gate decides with reasons."""
