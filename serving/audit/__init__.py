"""The audit log of a model server: its records, the chain of hashes over them, and the files that keep them."""
