"""What a classifier looks at: measures that are no attacks."""
