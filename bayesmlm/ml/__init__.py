"""The likelihood reading: maximum likelihood by Laplace or adaptive Gauss-Hermite quadrature."""
