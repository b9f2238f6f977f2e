"""Explanations of predictions: what each word of a text adds to the logit of a label, and pictures of that."""
