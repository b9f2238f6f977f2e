"""What flows between steps, at rest: datasets, checkpoints, and bundles with all that protects them."""
