"""Telemetry of a model server: metrics, drift, the log, and the record of each request."""
