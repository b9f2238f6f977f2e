"""Step `register`: complete, sign, store and register a bundle as the challenger."""
