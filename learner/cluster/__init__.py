"""The processes of a run: who takes part, who is silent, what the run waits for."""
