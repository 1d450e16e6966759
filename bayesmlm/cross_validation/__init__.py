"""What a model predicts of answers it has not seen: rows, groups and folds left out."""

from bayesmlm.cross_validation.folds import kfold
from bayesmlm.cross_validation.groups import leave_one_group_out
from bayesmlm.cross_validation.result import CrossValidation
from bayesmlm.cross_validation.rows import loo

__all__ = ["CrossValidation", "kfold", "leave_one_group_out", "loo"]
