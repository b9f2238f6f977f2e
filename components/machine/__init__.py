"""This machine: its folders, files and processors, and how child processes start."""
