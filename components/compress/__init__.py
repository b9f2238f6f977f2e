"""Step `compress`: make smaller and faster variants of the classifier, measure them, and choose the best good one."""
