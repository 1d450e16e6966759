"""Random-effect structures with random rows, and their dense matrices: what blocked code is compared with."""

import numpy as np

from bayesmlm.laplace.layout import RandomTerm

STRUCTURES = {
    "one": [(6, 1)],
    "one slope": [(6, 2)],
    "three columns": [(6, 3)],
    "crossed": [(6, 1), (4, 1)],
    "crossed slopes": [(6, 2), (4, 2)],
    "small main with wide other": [(6, 1), (4, 3)],
    "nested": [(4, 1), (12, 1)],
    "nested slopes": [(4, 2), (12, 2)],
    "uncorrelated": [(6, 1), (6, 1)],
    "three crossed": [(7, 1), (5, 2), (3, 1)],
    "many crossed": [(90, 1), (70, 1)],
    "nested and crossed": [(4, 1), (12, 1), (5, 1)],
}
"""Per term, the number of groups and the columns; "nested" puts the second within the first."""


def random_terms(shape, n, rng, nested=False, uncorrelated=False):
    """Terms of a structure over n random rows: every group occurs, columns after the first are normal."""
    terms = []
    for t, (levels, k) in enumerate(shape):
        codes = np.concatenate([np.arange(levels), rng.integers(0, levels, n - levels)])
        if nested and t == 1:
            inner = levels // shape[0][0]
            _, codes = np.unique(terms[0].codes * inner + rng.integers(0, inner, n), return_inverse=True)
            levels = int(codes.max()) + 1
        z = np.column_stack([np.ones(n), *(rng.normal(size=n) for _ in range(k - 1))])
        if uncorrelated and t == 1:
            codes, z = terms[0].codes, rng.normal(size=(n, 1))
        terms.append(RandomTerm(codes, z, levels))
    return terms


def structure_of(name, rng, n=None):
    """Terms of a named structure."""
    shape = STRUCTURES[name]
    n = n or max(80, 3 * shape[0][0])
    return random_terms(shape, n, rng, name.startswith("nested"), name == "uncorrelated")


def dense_columns(blocks, terms, lams):
    """M with rows m_i of each term in block order (main term first), rows in the blocks' order."""
    parts = []
    for t in blocks.terms:
        term, lam = terms[t], lams[t]
        k, n = len(lam), len(term.codes)
        M = np.zeros((n, term.n_levels, k))
        M[np.arange(n), term.codes] = term.z @ lam
        parts.append(M.reshape(n, -1))
    return np.hstack(parts)[blocks.order]


def flat(parts):
    """Effects by term, (groups, k, …), as columns of the dense matrix: (q, …)."""
    return np.concatenate([part.reshape(part.shape[0] * part.shape[1], *part.shape[2:]) for part in parts])


def by_differences(f, x, h=1e-3):
    """Gradient of f at x by fourth-order differences."""
    out = np.empty(len(x))
    for j in range(len(x)):
        e = np.zeros(len(x))
        e[j] = h
        a, b, c, d = (f(x + k * e) for k in (-2, -1, 1, 2))
        out[j] = (a - 8 * b + 8 * c - d) / (12 * h)
    return out
