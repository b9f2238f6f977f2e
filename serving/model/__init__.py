"""The model that is served: loaded, batched, explained."""
