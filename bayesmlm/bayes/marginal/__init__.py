"""A posterior without chains: nested Laplace, weighted against the exact posterior, with a certificate."""
