"""The protocols V1 and V2: decodes requests into texts, and encodes predictions as responses."""
