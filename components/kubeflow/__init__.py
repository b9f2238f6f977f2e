"""Kubeflow Pipelines: what the pod of a step has there, and what became of a run's pods."""
