"""What each technique of compression gains on SST-2, and what users would pick instead."""
