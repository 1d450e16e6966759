"""The Laplace approximation of the likelihood of any terms, with its exact gradient.

With spherical effects u ~ N(0, I), m_i = Λ'z_i and η = o + Xβ + m'u, the Laplace log-likelihood is

    ℓ(β, θ) = Σ ℓ_i(η̂_i) − ½ |û|² − ½ log |H̃|,   H̃ = I + Σ w̃_i m_i m_i',

(Bates, "Computational methods for mixed models", 2015, eq. 48) with w̃ the observed information w (glmmTMB's Laplace
approximation, the default here) or the expected (lme4's, by penalised iteratively reweighted least squares); for
canonical links they are the same.  The gradient follows from the stationarity of û, with H of the observed w:
H dû = Σ dm_i s_i − m_i w_i dη_i.  With leverages h_i = m_i'H̃⁻¹m_i and r = H⁻¹ Σ m_i w̃′_i h_i,

    dℓ = Σ c_i dη_i − Σ w̃_i (H̃⁻¹m_i)'dm_i − ½ Σ s_i r'dm_i,   c_i = s_i − ½ (w̃′_i h_i − w_i m_i'r),

where dη_i = x_i'dβ + u'dm_i and dm_i = dΛ'z_i.

Where β is not free but sits at its own mode given θ (``n_agq = 0``), ℓ depends on θ through it too.  With v the
solution of I_β v = ∂ℓ/∂β and t = H⁻¹ Σ m_i w_i x_i'v, that adds −w_i (x_i'v − m_i't) to c_i and t to ½ r.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from bayesmlm.laplace.layout import Blocks, component_of, widest_group
from bayesmlm.laplace.modes import (
    Evaluation,
    at_modes,
    factorise_rows,
    find_modes,
    flattened,
    gather,
    information_of,
    scatter,
)
from bayesmlm.laplace.pls import (
    empty_factor,
    factorise_components,
    group_covariance,
    invert_components,
    solve,
    spherical_columns,
)

__all__ = ["laplace"]

Array = np.ndarray[Any, Any]


@njit(cache=True, error_model="numpy")
def _leverages(m, layout, factor, inverse, dwe, a_rows, weighted):  # type: ignore[no-untyped-def]
    """H̃⁻¹m of every row, and w̃′h."""
    k0, K = layout.columns[0], m.shape[1]
    widest = widest_group(layout)
    starts, local, touched, touched_starts = layout.starts, layout.local, layout.touched, layout.touched_starts
    P, V_main, V_cross = np.empty((k0, widest)), np.empty((k0, k0)), np.empty((k0, widest))
    for g in range(len(starts) - 1):
        group_covariance(layout, factor, inverse, g, P, V_main, V_cross)
        first = touched_starts[g]
        shift, size = component_of(layout, first, touched_starts[g + 1])
        for i in range(starts[g], starts[g + 1]):
            h = 0.0
            for a in range(k0):
                total = 0.0
                for b in range(k0):
                    total += V_main[a, b] * m[i, b]
                for d in range(k0, K):
                    total += V_cross[a, local[i, d - k0]] * m[i, d]
                a_rows[i, a] = total
                h += total * m[i, a]
            for c in range(k0, K):
                at = local[i, c - k0]
                row = shift + touched[first + at] * size
                total = 0.0
                for b in range(k0):
                    total += V_cross[b, at] * m[i, b]
                for d in range(k0, K):
                    total += inverse[row + touched[first + local[i, d - k0]]] * m[i, d]
                a_rows[i, c] = total
                h += total * m[i, c]
            weighted[i] = dwe[i] * h


@njit(cache=True, error_model="numpy")
def _theta_gradient(z, m, layout, main, other, r_main, r_other, s, w, we, weighted, a_rows, coefficient, d_lams):  # type: ignore[no-untyped-def]
    """Row by row: c, less what depends on β (in: −½ w̃′h; out: c), and ∂ℓ/∂λ of every term, full k × k."""
    k0, K = layout.columns[0], m.shape[1]
    u_row, r_row = np.empty(K), np.empty(K)
    starts, touched, local, touched_starts = layout.starts, layout.touched, layout.local, layout.touched_starts
    columns = layout.columns
    d_lams[:] = 0.0
    for g in range(len(starts) - 1):
        first = touched_starts[g]
        for i in range(starts[g], starts[g + 1]):
            mr = 0.0
            for c in range(K):
                if c < k0:
                    u_row[c], r_row[c] = main[g, c, 0], r_main[g, c, 0]
                else:
                    j = touched[first + local[i, c - k0]]
                    u_row[c], r_row[c] = other[j, 0], r_other[j, 0]
                mr += m[i, c] * r_row[c]
            ci = s[i] + weighted[i] + w[i] * mr
            coefficient[i] = ci
            col, lam_at = 0, 0
            for k in columns:
                for b in range(k):
                    moved = ci * u_row[col + b] - we[i] * a_rows[i, col + b] - s[i] * r_row[col + b]
                    for a in range(b, k):
                        d_lams[lam_at + a * k + b] += z[i, col + a] * moved
                col += k
                lam_at += k * k


def laplace(
    link: int,
    y: Array,
    trials: Array,
    fixed: Array,
    blocks: Blocks,
    lams: list[Array],
    work: Evaluation,
    use_expected: bool = False,
    X: Array | None = None,
) -> tuple[float, list[Array], bool]:
    """Laplace log-likelihood and its exact gradient.

    Parameters
    ----------
    link : int
    y, trials, fixed : ndarray, shape (n,)
        In the order of ``blocks``; ``fixed`` is o + Xβ.
    blocks : Blocks
    lams : list of ndarray
        λ of each term, in block order.
    work : Evaluation
        In: modes to start from.  Out: modes, factor, and ``coefficient`` c with ∂ℓ/∂β = X'c.
    use_expected : bool
        Whether the determinant is of the expected information (lme4) instead of the observed.
    X : ndarray, shape (n, p), optional
        Given where ``fixed`` is o + Xβ at the joint mode of β and û (:func:`joint_modes`): the gradient in θ then
        includes how β moves.

    Returns
    -------
    loglik : float
    d_lams : list of ndarray
        ∂ℓ/∂λ of each term, lower triangles.
    found : bool
        Whether the mode was found.
    """
    layout = blocks.layout
    flat = flattened(lams)
    m = spherical_columns(blocks.z, layout.columns, flat)
    found = find_modes(link, y, trials, fixed, m, blocks, work)
    half = 0.0
    d_flat = np.zeros(len(flat))
    value = -math.inf
    if found:
        value, half = at_modes(
            link, use_expected, y, trials, fixed, m, layout, work.main, work.other, work.factor,
            work.s, work.w, work.we, work.dwe,
        )  # fmt: skip
        value -= 0.5 * (float(np.vdot(work.main, work.main)) + float(np.vdot(work.other, work.other)))
        half += factorise_components(layout, work.factor.S)
        work.determinant = work.factor
        if use_expected:
            work.determinant = empty_factor(layout)
            half = float(factorise_rows(work.we, m, layout, work.determinant))
            half += factorise_components(layout, work.determinant.S)
        inverse = invert_components(layout, work.determinant.S)
        a_rows, weighted = np.empty_like(m), np.empty(len(y))
        _leverages(m, layout, work.determinant, inverse, work.dwe, a_rows, weighted)
        weighted *= 0.5
        r_main, r_other = np.zeros_like(work.main), np.zeros_like(work.other)
        gather(weighted[:, None], m, layout, r_main, r_other)
        solve(layout, work.factor, r_main, r_other)
        np.negative(weighted, out=weighted)
        if X is not None:
            weighted, r_main, r_other = _through_beta(X, m, blocks, work, weighted, r_main, r_other)
        _theta_gradient(
            blocks.z, m, layout, work.main, work.other, r_main, r_other, work.s, work.w, work.we, weighted, a_rows,
            work.coefficient, d_flat,
        )  # fmt: skip
    d_lams, at = [], 0
    for k in layout.columns:
        d_lams.append(d_flat[at : at + k * k].reshape(k, k))
        at += k * k
    return value - half, d_lams, found


def _through_beta(
    X: Array, m: Array, blocks: Blocks, work: Evaluation, weighted: Array, r_main: Array, r_other: Array
) -> tuple[Array, Array, Array]:
    """What θ owes to β at the joint mode: see the module's last formula."""
    mr = np.empty((len(m), 1))
    scatter(m, blocks.layout, r_main, r_other, mr)
    gradient = X.T @ (work.s + weighted + work.w * mr[:, 0])
    information, solved = information_of(X, m, blocks, work.w, work.factor)
    v = np.linalg.solve(information, gradient)
    t_main, t_other = solved[0] @ v[:, None], solved[1] @ v[:, None]
    return weighted - work.w * (X @ v), r_main + t_main, r_other + t_other
