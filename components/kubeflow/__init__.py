"""Kubeflow Pipelines: the set-up of a step's pod, and the diagnosis of a failed run from its pods."""
