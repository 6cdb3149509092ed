"""pydicom without its warnings: they name files, which may be named after patients, and a worker's log would keep them."""

from __future__ import annotations

import logging
import warnings
from typing import Any


def quiet_pydicom() -> Any:
    """The module pydicom, silenced for this process: what is wrong with a file is said in our own words, without its name."""
    import pydicom

    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module="pydicom")  # catch_warnings would not hold in threads
    return pydicom
