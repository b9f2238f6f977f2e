"""Step `report`: one HTML page for a run, with the pictures and tables of all its steps."""
