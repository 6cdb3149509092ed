"""Floor 2: how one thing becomes the next, one stage a file."""
