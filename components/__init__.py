"""The steps of the pipeline, one package each, and the data forms that they share."""
