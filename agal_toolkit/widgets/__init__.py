"""Views for notebooks: panels that run loops, maps to click, molecules to turn, pictures.

Importing this package makes a running IPython show a Committee, a Dataset and a Generation as
pictures; without IPython it does nothing. nglview is loaded when the first molecule is shown.
"""

from .attack_panel import AttackPanel
from .attack_player import AttackPlayer
from .background import Background
from .chosen import Chosen
from .committee_view import CommitteeView
from .formatters import register
from .label_exchange import LabelExchange
from .molecule import Molecule
from .monitor import Monitor
from .promises import Promises
from .review import Review
from .structure_parts import StructureMap, StructureTable
from .structure_view import StructureView
from .structures import Structures
from .structures_panel import StructuresPanel
from .workbench import Workbench

# fmt: off
__all__ = ["AttackPanel", "AttackPlayer", "Background", "Chosen", "CommitteeView",
           "LabelExchange", "Molecule", "Monitor", "Promises", "Review", "StructureMap",
           "StructureTable", "StructureView", "Structures", "StructuresPanel",
           "Workbench"]
# fmt: on

register()
