"""The pure part of a rollout: evidence in, verdict and readings out; no clock, no network, no randomness."""
