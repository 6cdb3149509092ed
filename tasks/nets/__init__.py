"""Networks: a registry of architectures, and a checkpoint made ready to run. Importing this does not import torch."""

from tasks.nets.network import Network, Precision, load_network, settle_device, settle_precision
from tasks.nets.registry import build, network

__all__ = ["Network", "Precision", "build", "load_network", "network", "settle_device", "settle_precision"]
