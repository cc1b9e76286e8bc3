"""What states exist and which moves are legal: two tables, and one question asked of them. Pure.

>>> move(VERSION, "trained", "activate")
'deploying'
"""

from statemachine.errors import IllegalMoveError
from statemachine.machine import legal_moves, move
from statemachine.tables import DEPLOYMENT, VERSION, Lifecycle, Move

__all__ = ["DEPLOYMENT", "VERSION", "IllegalMoveError", "Lifecycle", "Move", "legal_moves", "move"]
