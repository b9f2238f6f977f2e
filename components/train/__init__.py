"""Step `train`: fine-tune an encoder with data-parallel workers under torchrun; a killed run goes on where it was."""
