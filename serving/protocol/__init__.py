"""From a request of the protocols V1 and V2 to texts, and from predictions to responses."""
