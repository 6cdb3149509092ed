"""Floor 1: the things stages hand over, and the store that keeps them."""

NOTICE = "Research software, not a medical device; not for clinical use."
