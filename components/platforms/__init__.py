"""The platforms that steps use: stores, the model registry, Kubernetes and KMS."""
