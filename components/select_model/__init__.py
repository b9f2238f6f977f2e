"""Step `select_model`: stratified cross-validation of candidates, and the choice by the one-standard-error rule."""
