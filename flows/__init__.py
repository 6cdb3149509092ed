"""Floor 3: what runs, in what order, and the command line."""
