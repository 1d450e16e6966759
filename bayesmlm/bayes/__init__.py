"""The posterior reading: the model compiled to PyMC, and sampled."""
