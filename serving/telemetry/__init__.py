"""What a server tells of its work: metrics, drift, the log, and the record of each request."""
