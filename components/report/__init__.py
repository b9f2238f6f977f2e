"""Step `report`: write one HTML page for a run, with the figures and tables of all its steps."""
