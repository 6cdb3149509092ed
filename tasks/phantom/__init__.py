"""A chest CT made from nothing, with nodules whose place, size and form are known exactly.

Phantoms are for trying the whole line, for tests, and for training the small networks that ship with the repository. They
are not patients: what is measured on them is synthetic and says little about real scans.
"""

from tasks.phantom.nodules import NoduleSpec, PhantomNodule
from tasks.phantom.phantom import Phantom, make_phantom
from tasks.phantom.splits import GENERATOR, HELD_OUT, data_phantom

__all__ = ["GENERATOR", "HELD_OUT", "NoduleSpec", "Phantom", "PhantomNodule", "data_phantom", "make_phantom"]
