"""Starting, watching and ending the processes of a run. Knows the roles as strings only."""
