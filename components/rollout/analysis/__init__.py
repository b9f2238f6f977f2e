"""The statistics of a rollout: from evidence to readings and a verdict, without clock, network or randomness."""
