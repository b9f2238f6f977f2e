"""Artifacts that flow between steps: datasets, checkpoints and bundles, and how bundles are signed and encrypted."""
