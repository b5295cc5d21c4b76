"""Which actions an actor plays: a named rule, and a share of random ones."""

from actor.actions.chooser import ActionChooser
from actor.actions.legal_shares import LegalShares

__all__ = ["ActionChooser", "LegalShares"]
