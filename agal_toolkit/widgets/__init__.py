"""What a notebook shows: a panel that runs loops, maps to touch, molecules to turn, and pictures of every object.

Importing this package tells a running IPython to show a Committee, a Dataset, an Attack, a Loop and a Generation as
pictures; without one it does nothing. What draws in three dimensions is loaded when the first molecule is shown.
"""

from .aim import Delivery, TargetPanel
from .atlas import Atlas
from .background import Background
from .explorers import AttackExplorer
from .formatters import register
from .members import CommitteeView
from .monitor import Monitor
from .player import AttackPlayer
from .viewer import Molecule

__all__ = ["Atlas", "AttackExplorer", "AttackPlayer", "Background", "CommitteeView", "Delivery", "Molecule", "Monitor", "TargetPanel"]

register()
