"""Step `train`: fine-tune an encoder with data-parallel workers under torchrun. A killed training is resumed."""
