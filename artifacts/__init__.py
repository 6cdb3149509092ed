"""Floor 1: the things stages hand over, and the store that keeps them."""
