"""What everything else is made of: losses, norms, randomness, Random Block Shuffle, Keras."""
