"""Code that every step shares: program, request, context, record of the run, progress, HTML and version of the code."""
