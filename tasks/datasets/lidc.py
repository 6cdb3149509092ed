"""LIDC."""

from tasks.datasets.luna16 import Truth


def recognise(files):
    return False


def gather(files, series, patients):
    raise NotImplementedError


def truth(raw, params, notes) -> Truth:
    raise NotImplementedError
