"""What a notebook shows: a panel that runs loops, maps to touch, and pictures of every object.

Importing this package tells a running IPython to show a Committee, a Dataset, an Attack, a Loop and a Generation as
pictures; without one it does nothing.
"""

from .background import Background
from .explorers import AttackExplorer, CommitteeView
from .formatters import register
from .monitor import Monitor

__all__ = ["AttackExplorer", "Background", "CommitteeView", "Monitor"]

register()
