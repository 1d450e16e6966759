"""Linear hypotheses in the terms of a model: ``"age:ch[Y] - 2*age > 0"`` read, and tested by Wald or over draws."""

from bayesmlm.hypotheses.draws import savage_dickey
from bayesmlm.hypotheses.names import plain_names, spellings
from bayesmlm.hypotheses.reading import Hypothesis, read_hypotheses
from bayesmlm.hypotheses.wald import JointTest, joint_wald, wald

__all__ = [
    "Hypothesis",
    "JointTest",
    "joint_wald",
    "plain_names",
    "read_hypotheses",
    "savage_dickey",
    "spellings",
    "wald",
]
