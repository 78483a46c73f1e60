"""What a notebook shows: a panel that runs loops, maps to touch, molecules to turn, and pictures of
every object.

Importing this package tells a running IPython to show a Committee, a Dataset, an Attack, a Loop and
a Generation as pictures; without one it does nothing. What draws in three dimensions is loaded when
the first molecule is shown.
"""

from .atlas import Atlas
from .attack_explorer import AttackExplorer
from .attack_player import AttackPlayer
from .background import Background
from .committee_view import CommitteeView
from .formatters import register
from .molecule import Molecule
from .monitor import Monitor
from .target_panel import Delivery, TargetPanel

__all__ = [
    "Atlas",
    "AttackExplorer",
    "AttackPlayer",
    "Background",
    "CommitteeView",
    "Delivery",
    "Molecule",
    "Monitor",
    "TargetPanel",
]

register()
