"""Floor 3: what runs, in what order, and the command line."""

import os

# Nothing is told to anyone; set before Prefect is imported.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
