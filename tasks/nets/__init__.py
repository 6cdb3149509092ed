"""Networks by name: a registry of architectures and how a checkpoint becomes one of them."""
