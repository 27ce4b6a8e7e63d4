"""Measurements against other projects; not part of the installed library."""
