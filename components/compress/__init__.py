"""Step `compress`: smaller and faster variants of the trained classifier, measured; the fastest that is good enough."""
