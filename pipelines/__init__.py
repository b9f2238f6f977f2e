"""The pipeline that chains the steps, its settings, its local runner and the `slipway` command."""
