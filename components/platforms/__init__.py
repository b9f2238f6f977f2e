"""What a step stands on: stores, the model registry, Kubernetes."""
