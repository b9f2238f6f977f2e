"""The latency buckets in which servers count requests, and by which rollouts compare revisions."""

LATENCY_BOUNDS_MS = tuple(round(1.25**power, 3) for power in range(50))
"""Upper bounds of the latency buckets: 50 bounds from 1 ms to 56 s, each 25 % above the one before."""
