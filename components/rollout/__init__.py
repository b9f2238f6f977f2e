"""Step `rollout`: move live traffic to a challenger in steps; go on, hold or roll back on anytime-valid evidence."""
