"""Slipway: labelled text and a pretrained encoder in, a small signed model under live canary traffic out."""
