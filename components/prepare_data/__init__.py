"""Step `prepare_data`: labelled text from anywhere becomes clean, distinct, stratified splits and a data report."""
