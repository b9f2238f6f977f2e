"""REST: connections, access checks, limits and endpoints."""
