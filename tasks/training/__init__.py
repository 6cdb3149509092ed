"""Training: one loop, the batches it is fed, and what they are scored by."""
