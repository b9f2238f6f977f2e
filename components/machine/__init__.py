"""This machine: its folders and files, and how many processors it gives."""
