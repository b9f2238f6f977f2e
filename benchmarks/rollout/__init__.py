"""How often a rollout decides wrongly, and how soon it decides: simulated with the real analysis."""
