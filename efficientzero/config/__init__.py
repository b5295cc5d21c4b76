"""Every hyperparameter: fields, files, checks, and what follows from them."""
