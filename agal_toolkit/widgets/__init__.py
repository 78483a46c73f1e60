"""What a notebook shows: a panel that runs loops, maps to touch, molecules to turn, and pictures of every object.

Importing this package tells a running IPython to show a Committee, a Dataset, an Attack, a Loop and a Generation as
pictures; without one it does nothing. What draws in three dimensions is loaded when the first molecule is shown.
"""

from .target_panel import Delivery, TargetPanel
from .atlas import Atlas
from .background import Background
from .attack_explorer import AttackExplorer
from .formatters import register
from .committee_view import CommitteeView
from .monitor import Monitor
from .attack_player import AttackPlayer
from .molecule import Molecule

__all__ = ["Atlas", "AttackExplorer", "AttackPlayer", "Background", "CommitteeView", "Delivery", "Molecule", "Monitor", "TargetPanel"]

register()
