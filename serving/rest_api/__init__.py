"""The REST side: connections, limits, endpoints."""
