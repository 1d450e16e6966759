"""The models that are timed, under the names the reference numbers have."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CASES", "Case"]


@dataclass(frozen=True, slots=True)
class Case:
    """One model of the benchmark.

    Attributes
    ----------
    name : str
    data : str
        Key into :mod:`benchmarks.data`.
    formula : str
        In lme4's language.
    family : str
        ``binomial`` or ``gaussian``; linear models are fitted by REML.
    n_agq : int
        Points of adaptive Gauss-Hermite quadrature, 1 for the Laplace approximation.
    minutes_in_r : bool
        Whether R needs minutes for it, so that it runs there only when asked for.
    """

    name: str
    data: str
    formula: str
    family: str = "binomial"
    n_agq: int = 1
    minutes_in_r: bool = False


CASES = {
    case.name: case
    for case in (
        Case("con_livch", "contraception", "use ~ age + urban + livch + (1 | district)"),
        Case("con_quad", "contraception", "use ~ age + I(age^2) + urban + ch + (1 | district)"),
        Case("con_int", "contraception", "use ~ age*ch + I(age^2) + urban + (1 | district)"),
        Case("con_ud", "contraception", "use ~ age*ch + I(age^2) + urban + (1 | urban:district)"),
        Case("con_slope", "contraception", "use ~ age*ch + I(age^2) + urban + (1 + urban | district)"),
        Case("con_livch_agq9", "contraception", "use ~ age + urban + livch + (1 | district)", n_agq=9),
        Case("cbpp", "cbpp", "cbind(incidence, size - incidence) ~ period + (1 | herd)"),
        Case("exam_schavg", "exam", "success ~ schavg + (1 | school)"),
        Case("exam_slope", "exam", "success ~ standLRT + sex + (1 + standLRT | school)"),
        Case("verbagg", "VerbAgg", "y ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)"),
        Case("sleepstudy", "sleepstudy", "Reaction ~ Days + (1 + Days | Subject)", "gaussian"),
        Case("insteval_lmm", "InstEval", "y ~ 1 + (1 | s) + (1 | d) + (1 | dept:service)", "gaussian"),
        Case("insteval", "InstEval", "yb ~ 1 + (1 | s) + (1 | d) + (1 | dept:service)", minutes_in_r=True),
    )
}
"""Every model by name."""
