"""The served model: loading, sessions, batching, explanations, and the model repository."""
