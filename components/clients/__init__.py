"""Clients of a served model over the V2 protocol, their credentials, and the file of API keys."""
