"""The rollout target on one machine: KServe model servers in the background behind one Envoy."""
