# Reference fits of lme4 and glmmTMB at their optima, written to likelihood.json beside this script.
#
#   Rscript tests/reference/likelihood.R            # all of them
#   Rscript tests/reference/likelihood.R con_probit # these names only; the others stay as they are in the file
#
# Needs lme4, glmmTMB and jsonlite; takes a quarter of an hour, half of it InstEval.  Data are the csv files of
# the package and those beside this script, which it writes: from lme4 (grouseticks, pastes, penicillin) or by
# simulation (singular).  VerbAgg and InstEval are lme4's; nhanes_2012.csv is read from the folder BAYESMLM_DATA,
# and without it the nhanes entries stay as they are.

suppressPackageStartupMessages({
  library(lme4)
  library(glmmTMB)
  library(jsonlite)
})

script <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
here <- if (length(script)) dirname(normalizePath(script)) else getwd()
target <- file.path(here, "likelihood.json")

# ---------------------------------------------------------------------------------------------------- data

table_of <- function(name) {
  read.csv(file.path(here, "..", "..", "bayesmlm", "datasets", paste0(name, ".csv")),
           stringsAsFactors = FALSE)
}

# A table written beside this script and read back, so that fits see what the tests read.
beside <- function(name, data, factors) {
  path <- file.path(here, paste0(name, ".csv"))
  data[factors] <- lapply(data[factors], as.character)
  write.csv(data, path, row.names = FALSE)
  again <- read.csv(path, stringsAsFactors = FALSE, colClasses = setNames(rep("character", length(factors)), factors))
  again[factors] <- lapply(again[factors], function(column) factor(column, levels = unique(column)))
  again
}

contraception <- within(table_of("contraception"), {
  district <- factor(district, levels = unique(district))
  use <- factor(use, levels = c("N", "Y"))
  livch <- factor(livch, levels = c("0", "1", "2", "3+"))
  urban <- factor(urban, levels = c("N", "Y"))
  ch <- factor(ch, levels = c("N", "Y"))
})
cbpp <- within(table_of("cbpp"), {
  herd <- factor(herd, levels = unique(herd))
  period <- factor(period, levels = c("1", "2", "3", "4"))
  w <- rep_len(c(1, 2, 0.5), length(herd))
})
sleepstudy <- within(table_of("sleepstudy"), {
  Subject <- factor(Subject, levels = unique(Subject))
  w <- rep_len(c(1, 2, 0.5), length(Subject))
})
pastes <- beside("pastes", lme4::Pastes, c("batch", "cask", "sample"))
penicillin <- beside("penicillin", lme4::Penicillin, c("plate", "sample"))
grouseticks <- within(beside("grouseticks", lme4::grouseticks, c("INDEX", "BROOD", "YEAR", "LOCATION")), {
  YEAR <- factor(YEAR, levels = c("95", "96", "97"))
})
VerbAgg <- within(lme4::VerbAgg, y <- as.integer(r2 == "Y"))
InstEval <- lme4::InstEval

# 200 rows in 20 groups without any effect of the group: both maximum-likelihood sds are 0.
singular <- local({
  set.seed(6, "Mersenne-Twister", "Inversion", "Rejection")
  g <- rep(sprintf("g%02d", 1:20), each = 10)
  x <- round(rnorm(200), 3)
  y <- rbinom(200, 1, plogis(-0.3 + 0.8 * x))
  z <- round(1 + 0.5 * x + rnorm(200), 4)
  beside("singular", data.frame(g, x, y, z), "g")
})

folder <- Sys.getenv("BAYESMLM_DATA")
survey <- file.path(folder, "nhanes_2012.csv")
nhanes_2012 <- if (nzchar(folder) && file.exists(survey)) {
  within(read.csv(survey, stringsAsFactors = FALSE), {
    dep2 <- factor(dep2, levels = c("0", "1"))
    asthma <- factor(asthma, levels = c("No Asthma", "Asthma"))
    race <- factor(race, levels = c("MexicanAmerican", "OtherHispanic", "White", "Black", "Other"))
    cluster <- factor(cluster)
  })
}
if (!is.null(nhanes_2012)) {
  nhanes_2012 <- nhanes_2012[complete.cases(nhanes_2012[c("dep", "famsize", "sed", "race", "asthma")]), ]
}

# ---------------------------------------------------------------------------------------------- optimisation

# Derivatives by central differences, their steps halved twice and extrapolated.  The unit of each parameter is
# about one standard error, so that predictors on unlike scales (age and age^2, minutes) are no difficulty.
steps <- c(0.1, 0.05, 0.025)

extrapolate <- function(values) {
  for (k in seq_len(length(values) - 1)) {
    values <- lapply(seq_along(values)[-1], function(i) (4^k * values[[i]] - values[[i - 1]]) / (4^k - 1))
  }
  values[[1]]
}

gradient_at <- function(f, x, unit) {
  extrapolate(lapply(steps, function(h) {
    vapply(seq_along(x), function(j) {
      e <- replace(0 * x, j, h * unit[j])
      (f(x + e) - f(x - e)) / (2 * h)
    }, 0)
  }))
}

hessian_at <- function(f, x, unit) {
  centre <- f(x)
  extrapolate(lapply(steps, function(h) {
    H <- diag(0, length(x))
    for (i in seq_along(x)) {
      a <- replace(0 * x, i, h * unit[i])
      H[i, i] <- (f(x + a) - 2 * centre + f(x - a)) / h^2
      for (j in seq_len(i - 1)) {
        b <- replace(0 * x, j, h * unit[j])
        H[i, j] <- H[j, i] <- (f(x + a + b) - f(x + a - b) - f(x - a + b) + f(x - a - b)) / (4 * h^2)
      }
    }
    H
  }))
}

# Newton's method from a good start until no step is seen.  Directions in which a deviance is flat (below a
# variance of 0) are left alone.  lme4's deviance is even in the diagonal of theta, so that 0 is no edge to it.
polish <- function(f, x, unit, gradient = gradient_at, hessian = hessian_at) {
  H <- hessian(f, x, unit)
  grow <- ifelse(diag(H) > 1e-3, sqrt(2 / pmax(diag(H), 1e-3)), 1)
  unit <- unit * grow
  H <- hessian(f, x, unit)
  inverse <- function(H) {
    e <- eigen(H, symmetric = TRUE)
    keep <- e$values > 1e-5
    list(matrix = e$vectors[, keep, drop = FALSE] %*% (t(e$vectors[, keep, drop = FALSE]) / e$values[keep]),
         flat = !all(keep))
  }
  for (iteration in 1:30) {
    step <- -as.numeric(inverse(H)$matrix %*% gradient(f, x, unit))
    if (max(abs(step)) < 1e-8) break
    x <- x + unit * pmax(pmin(step, 0.5), -0.5)
    if (max(abs(step)) > 0.01) H <- hessian(f, x, unit)
  }
  H <- hessian(f, x, unit)
  list(
    par = x, value = f(x), gradient = max(abs(gradient(f, x, unit))),
    covariance = if (inverse(H)$flat) matrix(NA_real_, length(x), length(x)) else 2 * solve(H) * outer(unit, unit)
  )
}

# nlopt's BOBYQA run on until neither the parameters nor the deviance move, with fresh trust regions.
bobyqa <- function(f, x, lower, restarts = 3) {
  control <- list(algorithm = "NLOPT_LN_BOBYQA", xtol_rel = 1e-12, xtol_abs = 1e-12, ftol_rel = 1e-14,
                  ftol_abs = 1e-14, maxeval = 100000)
  for (i in seq_len(1 + restarts)) {
    x <- lme4::nloptwrap(x, f, lower, rep(Inf, length(x)), control = control)$par
  }
  x
}

# The optimum of a deviance function of lme4, as its optimisers return one.
optimum <- function(f, x, lower, restarts = 3) {
  x <- bobyqa(f, x, lower, restarts)
  unit <- sqrt(2 / pmax(diag(lme4:::deriv12(f, x)$Hessian), 1e-4))
  found <- polish(f, x, unit)
  # What is within rounding of 0 is 0.
  alone <- lower == 0 & abs(found$par) < 1e-6 * unit
  found$par[alone] <- 0
  value <- f(found$par)
  opt <- list(par = found$par, fval = value, conv = 0, convergence = 0, feval = NA, message = "")
  attr(opt, "derivs") <- lme4:::deriv12(f, found$par, fx = value)
  f(found$par)
  list(opt = opt, covariance = found$covariance, gradient = found$gradient)
}

# --------------------------------------------------------------------------------------------------- results

named <- function(values, names) setNames(as.list(as.numeric(values)), names)

# The sds and correlations of lme4, by group: uncorrelated terms of one group stand together.
components_of <- function(model) {
  terms <- VarCorr(model)
  groups <- sub("\\.[0-9]+$", "", names(terms))
  sds <- list()
  correlations <- list()
  for (i in seq_along(terms)) {
    sd <- attr(terms[[i]], "stddev")
    sds[[groups[i]]] <- c(sds[[groups[i]]], named(sd, names(sd)))
    if (length(sd) > 1) correlations[[groups[i]]] <- unname(attr(terms[[i]], "correlation"))
  }
  list(sds = sds, correlations = if (length(correlations)) correlations else NULL)
}

# Conditional modes and variances by group: modes by column, one variance (matrix) per level.
effects_of <- function(model) {
  effects <- ranef(model, condVar = TRUE)
  lapply(setNames(names(effects), names(effects)), function(group) {
    modes <- effects[[group]]
    variances <- attr(modes, "postVar")
    if (is.list(variances)) {
      # Uncorrelated terms: one array each; the variances of their own columns.
      variances <- lapply(variances, function(v) as.numeric(v))
      names(variances) <- colnames(modes)
    } else {
      variances <- if (ncol(modes) == 1) as.numeric(variances) else aperm(variances, c(3, 1, 2))
    }
    list(level = I(rownames(modes)), mode = lapply(modes, I), variance = variances)
  })
}

# ------------------------------------------------------------------------------------------------ lme4, glmer

tight <- glmerControl(tolPwrss = 1e-13)

family_of <- function(entry) get(entry$family)(link = entry$link)

# log f(y | mu) of each row, with every constant, times its prior weight.
log_density <- function(entry, data, mu) {
  weight <- if (is.null(entry$weights)) 1 else data[[entry$weights]]
  y <- model.response(model.frame(lme4::nobars(entry$formula), data))
  if (entry$family == "poisson") {
    weight * dpois(y, mu, log = TRUE)
  } else if (is.matrix(y)) {
    weight * dbinom(y[, 1], rowSums(y), mu, log = TRUE)
  } else {
    weight * dbinom(if (is.factor(y)) as.integer(y) - 1L else y, 1, mu, log = TRUE)
  }
}

# What lme4 drops for nAGQ > 1, where it counts from the saturated model: the log-density at mu = y.
saturated <- function(entry, data) {
  y <- model.response(model.frame(lme4::nobars(entry$formula), data))
  mu <- if (is.matrix(y)) y[, 1] / rowSums(y) else if (is.factor(y)) as.integer(y) - 1L else y
  sum(log_density(entry, data, mu))
}

# The log-likelihood of a model with one scalar term by the trapezoidal rule, at the estimates of a fit.
integral_of <- function(entry, data, model) {
  effects <- ranef(model, condVar = TRUE)[[1]]
  sd <- as.numeric(getME(model, "theta"))
  group <- getME(model, "flist")[[1]]
  eta <- predict(model, re.form = NA)
  inverse <- family_of(entry)$linkinv
  half <- 14
  nodes <- seq(-half, half, by = 0.125)
  mode <- effects[[1]]
  width <- sqrt(as.numeric(attr(effects, "postVar")))
  logs <- vapply(nodes, function(t) {
    b <- mode + width * t
    rows <- log_density(entry, data, inverse(eta + b[as.integer(group)]))
    as.numeric(tapply(rows, group, sum)) + dnorm(b, 0, sd, log = TRUE)
  }, mode)
  top <- apply(logs, 1, max)
  sum(top + log(rowSums(exp(logs - top)) * 0.125 * width))
}

# lme4 stops its inner iterations once the penalised deviance moves by less than tolPwrss, and takes the
# determinant from the iteration before: with 1e-13 it is still off by up to 1e-5.  Started again from where it
# stopped, until nothing changes, it is right to rounding.
settled <- function(f) {
  state <- environment(f)
  begin <- state$lp0
  offset <- state$resp$offset + 0
  function(par) {
    state$lp0 <- begin
    value <- f(par)
    for (i in 1:20) {
      state$lp0 <- state$resp$eta - offset
      again <- f(par)
      if (abs(again - value) <= 1e-14 * abs(value)) break
      value <- again
    }
    again
  }
}

fit_glmer <- function(entry, data, points) {
  weights <- if (is.null(entry$weights)) NULL else data[[entry$weights]]
  formula <- entry$formula
  environment(formula) <- new.env(parent = globalenv())
  parts <- glFormula(formula, data, family_of(entry), weights = weights, control = tight)
  f <- do.call(mkGlmerDevfun, c(parts, list(control = tight)))
  environment(f)$nAGQ <- 0L
  first <- optimum(settled(f), parts$reTrms$theta, parts$reTrms$lower, restarts = 1)
  lower <- parts$reTrms$lower
  if (points == 0) {
    found <- first
  } else {
    start <- c(first$opt$par, environment(f)$pp$beta(1))
    f <- updateGlmerDevfun(f, parts$reTrms, nAGQ = points)
    lower <- environment(f)$lower
    found <- optimum(settled(f), start, lower)
  }
  list(model = mkMerMod(environment(f), found$opt, parts$reTrms, fr = parts$fr), found = found)
}

lme4_arm <- function(entry, data, points = 1) {
  fit <- suppressWarnings(fit_glmer(entry, data, points))
  model <- fit$model
  terms <- names(fixef(model))
  k <- length(getME(model, "theta"))
  precise <- sqrt(diag(fit$found$covariance))
  result <- c(
    list(
      coef = as.list(fixef(model)),
      se = named(suppressWarnings(sqrt(diag(as.matrix(vcov(model))))), terms),
      se_precise = if (points > 0) named(precise[-seq_len(k)], terms),
      se_rx = named(suppressWarnings(sqrt(diag(as.matrix(vcov(model, use.hessian = FALSE))))), terms)
    ),
    components_of(model),
    list(
      theta = I(as.numeric(getME(model, "theta"))),
      theta_se = if (points > 0) I(precise[seq_len(k)]),
      singular = isSingular(model),
      logLik = as.numeric(logLik(model)),
      logLik_full = if (points > 1) as.numeric(logLik(model)) + saturated(entry, data),
      logLik_integral = if (points > 1) integral_of(entry, data, model),
      df = attr(logLik(model), "df"),
      gradient = fit$found$gradient,
      ranef = if (isTRUE(entry$ranef) && points > 0) effects_of(model)
    )
  )
  list(arm = result[!vapply(result, is.null, TRUE)], nobs = nobs(model), ngrps = as.list(ngrps(model)))
}

# ------------------------------------------------------------------------------------------------- lme4, lmer

lmer_arm <- function(entry, data, REML) {
  weights <- if (is.null(entry$weights)) NULL else data[[entry$weights]]
  formula <- entry$formula
  environment(formula) <- new.env(parent = globalenv())
  parts <- lFormula(formula, data, REML = REML, weights = weights)
  f <- do.call(mkLmerDevfun, parts)
  found <- optimum(f, parts$reTrms$theta, parts$reTrms$lower, restarts = 1)
  model <- mkMerMod(environment(f), found$opt, parts$reTrms, fr = parts$fr)
  result <- c(
    list(coef = as.list(fixef(model)), se = named(sqrt(diag(as.matrix(vcov(model)))), names(fixef(model)))),
    components_of(model),
    list(
      sigma = sigma(model),
      theta = I(as.numeric(getME(model, "theta"))),
      theta_se = I(sqrt(diag(found$covariance))),
      singular = isSingular(model),
      logLik = as.numeric(logLik(model)),
      df = attr(logLik(model), "df"),
      gradient = found$gradient,
      ranef = if (isTRUE(entry$ranef)) effects_of(model)
    )
  )
  list(arm = result[!vapply(result, is.null, TRUE)], nobs = nobs(model), ngrps = as.list(ngrps(model)))
}

# --------------------------------------------------------------------------------------------------- glmmTMB

# Differences of TMB's exact gradient, in place of differences of the objective.  TMB's objective is half a deviance.
tmb_gradient <- function(object, whole, free) {
  function(f, x, unit) 2 * as.numeric(object$gr(whole(x)))[free] * unit
}
tmb_hessian <- function(object, whole, free) {
  gradient <- tmb_gradient(object, whole, free)
  function(f, x, unit) {
    H <- extrapolate(lapply(steps, function(h) {
      vapply(seq_along(x), function(j) {
        e <- replace(0 * x, j, h * unit[j])
        (gradient(f, x + e, unit) - gradient(f, x - e, unit)) / (2 * h)
      }, x)
    }))
    (H + t(H)) / 2
  }
}

# lme4's prior weights divide a Gaussian variance; glmmTMB's multiply a log-density.  For a Gaussian response
# they become an offset of its dispersion model.
glmmtmb_arm <- function(entry, data, REML = FALSE) {
  gaussian <- entry$family == "gaussian"
  weighted <- !is.null(entry$weights)
  formula <- if (is.null(entry$glmmTMB)) entry$formula else entry$glmmTMB
  arguments <- list(formula, data = data, family = family_of(entry), REML = REML,
                    control = glmmTMBControl(optCtrl = list(iter.max = 1000, eval.max = 1000, rel.tol = 1e-12)))
  if (weighted && gaussian) arguments$dispformula <- as.formula(sprintf("~ 1 + offset(-log(%s))", entry$weights))
  if (weighted && !gaussian) arguments$weights <- data[[entry$weights]]
  model <- suppressWarnings(do.call(glmmTMB, arguments))
  object <- model$obj
  par <- model$fit$par
  # Where an sd is 0 its logarithm has no optimum: it is held at -12, and the rest is optimised.
  free <- !(names(par) == "theta" & par < -5 & isTRUE(entry$singular))
  par[!free] <- -12
  whole <- function(x) replace(par, free, x)
  unit <- sqrt(diag(as.matrix(model$sdr$cov.fixed)))[free]
  unit[!is.finite(unit) | unit > 1e3] <- 0.1
  found <- polish(function(x) 2 * object$fn(whole(x)), par[free], unit,
                  tmb_gradient(object, whole, free), tmb_hessian(object, whole, free))
  H <- diag(1e12, length(par))
  H[free, free] <- solve(found$covariance)
  found$par <- whole(found$par)
  report <- suppressWarnings(TMB::sdreport(object, found$par, hessian.fixed = H))
  value <- as.numeric(object$fn(found$par))
  full <- object$env$parList(found$par)
  se_of <- function(block) {
    if (block %in% names(report$par.fixed)) {
      sqrt(diag(report$cov.fixed))[names(report$par.fixed) == block]
    } else {
      sqrt(report$diag.cov.random)[names(report$par.random) == block]
    }
  }
  terms <- names(fixef(model)$cond)
  structures <- model$modelInfo$reStruc$condReStruc
  theta_se <- replace(se_of("theta"), full$theta <= -12, NA)
  sds <- list()
  log_sd_se <- list()
  correlations <- list()
  at <- 0
  for (i in seq_along(structures)) {
    columns <- model$modelInfo$reTrms$cond$cnms[[i]]
    size <- length(columns)
    group <- names(model$modelInfo$reTrms$cond$cnms)[i]
    own <- at + seq_len(structures[[i]]$blockNumTheta)
    at <- max(own)
    sds[[group]] <- c(sds[[group]], named(exp(full$theta[own[seq_len(size)]]), columns))
    log_sd_se[[group]] <- c(log_sd_se[[group]], named(theta_se[own[seq_len(size)]], columns))
    if (length(own) > size) {
      L <- diag(size)
      L[lower.tri(L)] <- 0
      upper <- t(L)
      upper[upper.tri(upper)] <- full$theta[own[-seq_len(size)]]
      L <- t(upper)
      correlations[[group]] <- cov2cor(L %*% t(L))
    }
  }
  result <- list(
    coef = named(full$beta, terms),
    se = named(se_of("beta"), terms),
    sds = sds,
    log_sd_se = log_sd_se,
    correlations = if (length(correlations)) correlations,
    # The dispersion parameter of this version is the logarithm of the variance.
    sigma = if (gaussian) exp(full$betad / 2),
    log_sigma_se = if (gaussian) se_of("betad") / 2,
    theta = I(as.numeric(full$theta)),
    theta_se = I(as.numeric(theta_se)),
    logLik = -value,
    gradient = found$gradient
  )
  list(arm = result[!vapply(result, is.null, TRUE)])
}

# -------------------------------------------------------------------------------------------------- the models

model_of <- function(data, formula, family = "binomial", link = "logit", arms = c("lme4", "glmmTMB"), ...) {
  list(data = data, formula = formula, family = family, link = link, arms = arms, ...)
}
linear_of <- function(data, formula, methods = c("ml", "reml"), ...) {
  model_of(data, formula, "gaussian", "identity",
           arms = c(paste0("lme4_", methods), paste0("glmmTMB_", methods)), ...)
}

ud <- use ~ age * ch + I(age^2) + urban + (1 | urban:district)
livch <- use ~ age + urban + livch + (1 | district)
scalar <- c("lme4", "lme4_nagq0", "lme4_agq25", "glmmTMB")
noncanonical <- c("lme4", "lme4_agq25", "glmmTMB")
survey_terms <- "the rows complete in dep, famsize, sed, race and asthma"

models <- list(
  con_ud = model_of("contraception", ud, arms = scalar),
  con_livch = model_of("contraception", livch, arms = scalar),
  cbpp = model_of("cbpp", cbind(incidence, size - incidence) ~ period + (1 | herd), arms = scalar),

  con_ud_probit = model_of("contraception", ud, link = "probit", arms = noncanonical),
  con_ud_cloglog = model_of("contraception", ud, link = "cloglog", arms = noncanonical),
  con_livch_probit = model_of("contraception", livch, link = "probit", arms = noncanonical),
  con_livch_cloglog = model_of("contraception", livch, link = "cloglog", arms = noncanonical),

  grouse = model_of("grouseticks", TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION),
                    "poisson", "log"),
  grouse_brood = model_of("grouseticks", TICKS ~ YEAR + cHEIGHT + (1 | BROOD), "poisson", "log",
                          arms = c("lme4", "lme4_agq9", "glmmTMB")),
  grouse_offset = model_of("grouseticks", TICKS ~ YEAR + offset(log(HEIGHT / 100)) + (1 | BROOD), "poisson", "log",
                           arms = c("lme4", "lme4_agq9", "glmmTMB")),

  con_nested = model_of("contraception", use ~ age + urban + (1 | district/urban), singular = TRUE,
                        note = "the sd of district is 0"),
  con_nested_quad = model_of("contraception", use ~ age * ch + I(age^2) + urban + (1 | district/urban)),
  con_nested_livch = model_of("contraception", use ~ age + urban + (1 | district/livch)),
  con_cells = model_of("contraception", use ~ age + (0 + urban | district)),
  con_uncorrelated = model_of("contraception", use ~ age + urban + (age || district),
                              glmmTMB = use ~ age + urban + diag(1 + age | district)),
  con_three = model_of("contraception", use ~ age + urban + (1 + urban + age | district), arms = "lme4",
                       note = "the correlation matrix has rank 2"),
  con_three_ch = model_of("contraception", use ~ age + urban + ch + (1 + urban + ch | district)),
  con_crossed = model_of("contraception", use ~ age + urban + (1 | district) + (1 | livch)),

  cbpp_weights = model_of("cbpp", cbind(incidence, size - incidence) ~ period + (1 | herd), weights = "w"),
  con_offset = model_of("contraception", use ~ urban + livch + offset(0.1 * age) + (1 | district)),
  con_freq = model_of("contraception", use ~ urban + ch + (1 | district),
                      note = "the rows themselves: what frequencies of (urban, ch, district, use) must reproduce"),

  con_int = model_of("contraception", use ~ age * ch + I(age^2) + urban + (1 | district), ranef = TRUE),
  con_slope = model_of("contraception", use ~ age * ch + I(age^2) + urban + (1 + urban | district), ranef = TRUE),
  verbagg = model_of("VerbAgg", y ~ Anger + Gender + btype + situ + (1 | id) + (1 | item), ranef = TRUE),

  sleep = linear_of("sleepstudy", Reaction ~ Days + (1 + Days | Subject), ranef = TRUE),
  sleep_uncorrelated = linear_of("sleepstudy", Reaction ~ Days + (Days || Subject), ranef = TRUE,
                                 glmmTMB = Reaction ~ Days + diag(1 + Days | Subject)),
  sleep_weights = linear_of("sleepstudy", Reaction ~ Days + (1 + Days | Subject), weights = "w"),
  pastes = linear_of("pastes", strength ~ 1 + (1 | batch/cask)),
  penicillin = linear_of("penicillin", diameter ~ 1 + (1 | plate) + (1 | sample)),
  insteval = linear_of("InstEval", y ~ 1 + (1 | s) + (1 | d) + (1 | dept:service)),

  nhanes_lmm = linear_of("nhanes_2012", dep ~ asthma + famsize + sed + race + (1 | cluster), "ml",
                         rows = survey_terms, against = "nhanes_lmm_null"),
  nhanes_lmm_null = linear_of("nhanes_2012", dep ~ famsize + sed + race + (1 | cluster), rows = survey_terms),
  nhanes_lmm_slope = linear_of("nhanes_2012", dep ~ famsize + sed + race + (1 + asthma | cluster), "reml",
                               rows = survey_terms, against = "nhanes_lmm_null"),
  nhanes_dep2 = model_of("nhanes_2012", dep2 ~ asthma + famsize + sed + race + (1 | cluster), rows = survey_terms),
  nhanes_dep2_scaled = model_of("nhanes_2012", dep2 ~ asthma + famsize + I(sed/1000) + race + (1 | cluster),
                                rows = survey_terms),

  singular_binary = model_of("singular", y ~ x + (1 | g), singular = TRUE),
  singular_gaussian = linear_of("singular", z ~ x + (1 | g), singular = TRUE)
)

arm_of <- function(entry, data, arm) {
  switch(
    arm,
    lme4 = lme4_arm(entry, data, 1),
    lme4_nagq0 = lme4_arm(entry, data, 0),
    lme4_agq9 = lme4_arm(entry, data, 9),
    lme4_agq25 = lme4_arm(entry, data, 25),
    lme4_ml = lmer_arm(entry, data, FALSE),
    lme4_reml = lmer_arm(entry, data, TRUE),
    glmmTMB = , glmmTMB_ml = glmmtmb_arm(entry, data),
    glmmTMB_reml = glmmtmb_arm(entry, data, TRUE)
  )
}

text_of <- function(formula) paste(deparse(formula, width.cutoff = 500), collapse = "")

entry_of <- function(entry) {
  data <- get(entry$data)
  results <- lapply(setNames(entry$arms, entry$arms), function(arm) {
    started <- proc.time()[[3]]
    result <- arm_of(entry, data, arm)
    cat(sprintf("  %-14s logLik %.9f  gradient %.1e  %.0f s\n", arm, result$arm$logLik, result$arm$gradient,
                proc.time()[[3]] - started))
    result
  })
  c(
    list(data = entry$data, formula = text_of(entry$formula), family = entry$family, link = entry$link,
         weights = entry$weights),
    if (!is.null(entry$weights)) list(added = setNames(list(data[[entry$weights]]), entry$weights)),
    if (!is.null(entry$rows)) list(rows = entry$rows),
    if (!is.null(entry$note)) list(note = entry$note),
    list(nobs = results[[1]]$nobs, ngrps = results[[1]]$ngrps),
    list(arms = lapply(results, `[[`, "arm"))
  )
}

reference <- if (file.exists(target)) fromJSON(target, simplifyVector = FALSE) else list()
wanted <- commandArgs(TRUE)
wanted <- if (length(wanted)) wanted else names(models)
reference <- reference[intersect(names(models), names(reference))]

for (name in wanted) {
  if (is.null(get(models[[name]]$data))) {
    cat(name, ": no data, left as it is\n", sep = "")
    next
  }
  cat(name, "\n")
  reference[[name]] <- entry_of(models[[name]])
}

# Likelihood-ratio tests of the survey's models, from the log-likelihoods above.
for (name in names(models)) {
  against <- models[[name]]$against
  if (is.null(against) || is.null(reference[[name]]) || is.null(reference[[against]])) next
  arm <- intersect(c("lme4_ml", "lme4_reml"), names(reference[[name]]$arms))
  big <- reference[[name]]$arms[[arm]]
  small <- reference[[against]]$arms[[arm]]
  chisq <- 2 * (big$logLik - small$logLik)
  reference[[name]]$comparison <- list(against = against, arm = arm, chisq = chisq, df = big$df - small$df,
                                       p = pchisq(chisq, big$df - small$df, lower.tail = FALSE))
}

version_of <- function(package) packageDescription(package)$Version
note <- list(
  software = list(R = R.version.string, lme4 = version_of("lme4"), glmmTMB = version_of("glmmTMB"),
                  TMB = version_of("TMB"), nloptr = version_of("nloptr"), Matrix = version_of("Matrix")),
  script = "likelihood.R",
  data = paste(
    "csv files: contraception, cbpp and sleepstudy of the package; beside this file pastes, penicillin and",
    "grouseticks, which are lme4's (GPL >= 2), and singular, simulated; VerbAgg and InstEval of lme4, and",
    "nhanes_2012, as the csv files of the folder BAYESMLM_DATA have them"
  ),
  factors = list(grouseticks = c("INDEX", "BROOD", "YEAR", "LOCATION"), sleepstudy = I("Subject"),
                 pastes = c("batch", "cask", "sample"), penicillin = c("plate", "sample"), singular = I("g")),
  optimum = paste(
    "lme4's own deviance function, PIRLS (tolPwrss 1e-13) started again until the deviance stands still; nloptwrap",
    "(xtol 1e-12, ftol 1e-14) with restarts, then Newton steps on Richardson differences. For glmmTMB Newton steps",
    "on TMB's exact gradient. gradient: the largest derivative of the deviance, per standard error"
  ),
  arms = list(
    lme4 = "glmer, Laplace",
    lme4_nagq0 = "glmer, nAGQ = 0",
    lme4_agq9 = "glmer, adaptive Gauss-Hermite quadrature, 9 points",
    lme4_agq25 = "the same, 25 points",
    lme4_ml = "lmer, maximum likelihood",
    lme4_reml = "lmer, restricted maximum likelihood",
    glmmTMB = "Laplace",
    glmmTMB_ml = "maximum likelihood",
    glmmTMB_reml = "restricted maximum likelihood"
  ),
  fields = list(
    se = paste(
      "what summary prints. lme4: from its Hessian of all parameters by differences with steps of 1e-4 (glmer),",
      "given the variances (lmer and nAGQ = 0). glmmTMB: from the Hessian of all parameters, by Richardson",
      "differences of the exact gradient, or under REML with the uncertainty of the variances added"
    ),
    se_precise = "lme4: from the same Hessian by Richardson differences in steps of a fraction of a standard error",
    se_rx = "lme4: vcov(use.hessian = FALSE), given the variances",
    sds = "by group, by column",
    correlations = "by group, in the order of the columns of sds",
    log_sd_se = "standard errors of the logarithms of sds",
    theta = paste(
      "lme4: the lower triangle of the relative Cholesky factor, by column. glmmTMB: logarithms of the sds, then,",
      "of a term with correlations, the strict lower triangle, by row, of a unit lower triangular factor"
    ),
    theta_se = "standard errors of theta; where an sd or a variance is 0 no more than a curvature",
    logLik = "as the package gives it",
    logLik_full = paste(
      "for nAGQ > 1, where lme4 counts from the saturated model: logLik plus the log-density of the response at",
      "mu = y (0 for rows of 0 and 1)"
    ),
    logLik_integral = "the log-likelihood at the same estimates by the trapezoidal rule over 225 points per group",
    ranef = "conditional modes by column, and for each level the conditional variance (matrix)"
  ),
  links = paste(
    "for probit and cloglog, lme4's Laplace determinant takes expected information, glmmTMB's the observed Hessian:",
    "estimates and logLik differ. The canonical links agree"
  ),
  weights = paste(
    "binomial: they multiply the log-density of the row. Gaussian: they divide the residual variance, in glmmTMB by",
    "an offset -log(w) of the dispersion model"
  )
)
reference <- c(list(`_note` = note), reference[intersect(names(models), names(reference))])
writeLines(toJSON(reference, digits = NA, auto_unbox = TRUE, na = "null", null = "null", pretty = TRUE), target)
cat("wrote likelihood.json\n")
