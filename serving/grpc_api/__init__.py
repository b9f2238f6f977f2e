"""The gRPC side: connections, limits, services."""
