"""The rollout target on a cluster: one InferenceService of KServe, in Knative or in Standard mode."""
