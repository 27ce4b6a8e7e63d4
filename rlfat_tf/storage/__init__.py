"""Files that outlive a process: whole or absent, locked, safe to load."""
