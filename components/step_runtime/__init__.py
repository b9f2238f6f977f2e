"""What every step has: its program, request and context, the record of its run, progress, HTML, its code's version."""
