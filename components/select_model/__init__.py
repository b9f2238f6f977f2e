"""Step `select_model`: compare candidates by stratified cross-validation, and choose by the one-standard-error rule."""
