"""Which words of a text speak for a label, and a picture of that."""
