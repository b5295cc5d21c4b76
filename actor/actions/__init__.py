"""Which actions an actor plays: a named rule, and a share of random ones."""

from actor.actions.chooser import ActionChooser

__all__ = ["ActionChooser"]
