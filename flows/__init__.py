"""Floor 3: what runs, in what order, and the command line."""

import os

# Nothing is told to anyone; set before Prefect is imported.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
# A busy machine starts the embedded server slowly; twenty seconds are not always enough.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
# Threads of torch sleep instead of spinning while they wait: on a machine with other work to do the networks ran five
# times as fast. Set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
