"""Asking a served model: the V2 client, what it shows of itself, and keys."""
