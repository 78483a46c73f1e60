"""What a notebook shows: a panel that runs loops, maps to touch, molecules to turn, and pictures of every object.

Importing this package tells a running IPython to show a Committee, a Dataset, an Attack, a Loop and a Generation as
pictures; without one it does nothing. What draws in three dimensions is loaded when the first molecule is shown.
"""

from .atlas import Atlas
from .background import Background
from .ball_and_stick import draw_molecule
from .explorers import AttackExplorer, CommitteeView
from .formatters import register
from .monitor import Monitor
from .player import AttackPlayer
from .viewer import Molecule

__all__ = ["Atlas", "AttackExplorer", "AttackPlayer", "Background", "CommitteeView", "Molecule", "Monitor", "draw_molecule"]

register()
