"""A chest CT made from nothing, with nodules whose place, size and form are known exactly.

Phantoms are for trying the whole line, for tests, and for training the small networks that ship with the repository. They
are not patients: what is measured on them is synthetic and says little about real scans.
"""

from tasks.phantom.nodules import NoduleSpec, PhantomNodule
from tasks.phantom.phantom import Phantom, make_phantom

__all__ = ["NoduleSpec", "Phantom", "PhantomNodule", "make_phantom"]
