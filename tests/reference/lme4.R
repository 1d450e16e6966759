# Reference fits of lme4 at tight tolerances, written to lme4.json beside this script.
#
#   Rscript tests/reference/lme4.R
#
# Needs lme4 and jsonlite.  Data are the csv files of the package; factor levels are those of
# bayesmlm/datasets/__init__.py.

suppressPackageStartupMessages({
  library(lme4)
  library(jsonlite)
})

script <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
here <- if (length(script)) dirname(normalizePath(script)) else getwd()
table_of <- function(name) {
  read.csv(file.path(here, "..", "..", "bayesmlm", "datasets", paste0(name, ".csv")),
           stringsAsFactors = FALSE)
}

contraception <- within(table_of("contraception"), {
  district <- factor(district, levels = unique(district))
  use <- factor(use, levels = c("N", "Y"))
  livch <- factor(livch, levels = c("0", "1", "2", "3+"))
  urban <- factor(urban, levels = c("N", "Y"))
  ch <- factor(ch, levels = c("N", "Y"))
})
exam <- within(table_of("exam"), {
  school <- factor(school, levels = unique(school))
  sex <- factor(sex, levels = c("F", "M"))
})
cbpp <- within(table_of("cbpp"), {
  herd <- factor(herd, levels = unique(herd))
  period <- factor(period, levels = c("1", "2", "3", "4"))
})

models <- list(
  con_livch = list("contraception", use ~ age + urban + livch + (1 | district)),
  con_quad = list("contraception", use ~ age + I(age^2) + urban + ch + (1 | district)),
  con_int = list("contraception", use ~ age * ch + I(age^2) + urban + (1 | district)),
  con_ud = list("contraception", use ~ age * ch + I(age^2) + urban + (1 | urban:district)),
  con_slope = list("contraception", use ~ age * ch + I(age^2) + urban + (1 + urban | district)),
  cbpp = list("cbpp", cbind(incidence, size - incidence) ~ period + (1 | herd)),
  exam_schavg = list("exam", success ~ schavg + (1 | school)),
  exam_slope = list("exam", success ~ standLRT + sex + (1 + standLRT | school))
)

# nlopt's BOBYQA run on until neither the parameters nor the deviance move, and penalised least squares
# iterated to rounding: the optimum itself, not the place where the default tolerance stops.
tight <- glmerControl(
  optimizer = "nloptwrap", calc.derivs = TRUE, tolPwrss = 1e-13,
  optCtrl = list(xtol_rel = 1e-12, xtol_abs = 1e-12, ftol_rel = 1e-14, ftol_abs = 1e-14, maxeval = 100000)
)

# BOBYQA's trust region shrinks before the optimum is reached where predictors are on unlike scales
# (age and age^2): each restart from the last optimum, with a fresh trust region, gets closer.
fit <- function(formula, data, points, restarts = 3) {
  # The convergence heuristics of lme4 object to unscaled predictors; the optimum is checked by the tests.
  suppressWarnings({
    best <- glmer(formula, data, binomial, control = tight, nAGQ = points)
    for (i in seq_len(restarts)) {
      start <- list(theta = getME(best, "theta"), fixef = fixef(best))
      again <- glmer(formula, data, binomial, control = tight, nAGQ = points, start = start)
      if (logLik(again) > logLik(best)) best <- again
    }
    best
  })
}

standard_errors <- function(model) {
  names <- names(fixef(model))
  setNames(as.list(sqrt(diag(as.matrix(vcov(model, use.hessian = TRUE))))), names)
}

likelihood_of <- function(model) {
  components <- as.data.frame(VarCorr(model))
  list(
    coef = as.list(fixef(model)),
    se = standard_errors(model),
    varcorr = components,
    theta = as.numeric(getME(model, "theta")),
    logLik = as.numeric(logLik(model)),
    AIC = AIC(model),
    BIC = BIC(model),
    nobs = nobs(model),
    df = attr(logLik(model), "df"),
    ngrps = as.list(ngrps(model))
  )
}

# Conditional modes and variances of one scalar term, by level.
effects_of <- function(model) {
  effects <- ranef(model, condVar = TRUE)[[1]]
  list(
    level = rownames(effects),
    mode = effects[[1]],
    variance = as.numeric(attr(effects, "postVar"))
  )
}

quadrature_of <- function(model) {
  list(
    points = 9,
    coef = as.list(fixef(model)),
    se_hessian = standard_errors(model),
    theta = as.numeric(getME(model, "theta")),
    logLik = as.numeric(logLik(model)),
    ranef = effects_of(model)
  )
}

reference <- list(
  `_note` = list(
    software = sprintf("lme4 %s on %s", packageDescription("lme4")$Version, R.version.string),
    nloptr = packageDescription("nloptr")$Version,
    script = "lme4.R",
    tight_nlopt = paste(
      "Laplace (nAGQ = 1): nloptwrap with xtol 1e-12, ftol 1e-14 and tolPwrss 1e-13;",
      "standard errors from the Hessian in all parameters"
    ),
    tight_nAGQ9 = "adaptive Gauss-Hermite quadrature with 9 points, same tolerances; one scalar term only",
    ranef = "conditional modes and variances at the Laplace optimum, one scalar term only",
    caution = paste(
      "lme4 1.1-31 drops constants of the binomial density from the log-likelihood when nAGQ > 1 and a row has",
      "more than one trial: the value of cbpp under tight_nAGQ9 is not a log-likelihood with all constants",
      "(that one is -91.983)"
    )
  )
)

reference$con_glm <- local({
  formula <- use ~ age + urban + livch
  model <- glm(formula, binomial, contraception, control = glm.control(epsilon = 1e-14, maxit = 100))
  list(
    dataset = "contraception",
    formula = paste(deparse(formula, width.cutoff = 500), collapse = ""),
    glm = list(
      coef = as.list(coef(model)),
      se = as.list(sqrt(diag(vcov(model)))),
      logLik = as.numeric(logLik(model)),
      null_deviance = model$null.deviance,
      deviance = model$deviance,
      AIC = AIC(model),
      BIC = BIC(model),
      nobs = nobs(model),
      df = attr(logLik(model), "df")
    )
  )
})

for (name in names(models)) {
  data <- get(models[[name]][[1]])
  formula <- models[[name]][[2]]
  laplace <- fit(formula, data, 1)
  entry <- list(
    dataset = models[[name]][[1]],
    formula = paste(deparse(formula, width.cutoff = 500), collapse = ""),
    tight_nlopt = likelihood_of(laplace)
  )
  if (length(getME(laplace, "theta")) == 1) {
    entry$ranef <- effects_of(laplace)
    entry$tight_nAGQ9 <- quadrature_of(fit(formula, data, 9))
  }
  reference[[name]] <- entry
}

target <- file.path(here, "lme4.json")
writeLines(toJSON(reference, digits = 15, auto_unbox = TRUE, na = "null", null = "null", pretty = TRUE), target)
cat("wrote", normalizePath(target), "\n")
