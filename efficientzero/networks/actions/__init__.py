"""How actions enter a network, and the policy over continuous ones."""
