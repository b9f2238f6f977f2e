"""gRPC: connections, access checks, limits and services."""
