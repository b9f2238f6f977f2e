"""Step `prepare_data`: turn labelled text from any source into clean, distinct, stratified splits and a data report."""
