"""Training and evaluation code that the steps train, select_model, compress and evaluate share."""
