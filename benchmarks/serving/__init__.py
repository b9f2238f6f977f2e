"""The model server beside what people use instead, on one machine, with the same model and the same texts."""
