"""Side-by-side measurements against peers: `make bench` prints the README's table."""
