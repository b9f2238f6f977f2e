"""What the steps that train or measure models share."""
