# What R says around an estimate: Satterthwaite's degrees of freedom, likelihood-ratio tests, dropped terms, R²,
# hypotheses, classification.  Written to around.json beside this script.
#
#   Rscript tests/reference/around.R
#
# Needs lme4, lmerTest, performance and jsonlite, and MuMIn for its entries, which stay as they are in the file
# without it.  Data are the csv files of the package and those that likelihood.R writes beside this script.

suppressPackageStartupMessages({
  library(lme4)
  library(lmerTest)
  library(performance)
  library(jsonlite)
})

script <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
here <- if (length(script)) dirname(normalizePath(script)) else getwd()
target <- file.path(here, "around.json")
before <- if (file.exists(target)) fromJSON(target, simplifyVector = FALSE) else list()
package_table <- function(name) {
  read.csv(file.path(here, "..", "..", "bayesmlm", "datasets", paste0(name, ".csv")), stringsAsFactors = FALSE)
}
table_beside <- function(name, factors) {
  data <- read.csv(file.path(here, paste0(name, ".csv")), stringsAsFactors = FALSE,
                   colClasses = setNames(rep("character", length(factors)), factors))
  data[factors] <- lapply(data[factors], function(column) factor(column, levels = unique(column)))
  data
}

contraception <- within(package_table("contraception"), {
  district <- factor(district, levels = unique(district))
  use <- factor(use, levels = c("N", "Y"))
  livch <- factor(livch, levels = c("0", "1", "2", "3+"))
  urban <- factor(urban, levels = c("N", "Y"))
  ch <- factor(ch, levels = c("N", "Y"))
})
exam <- within(package_table("exam"), {
  school <- factor(school, levels = unique(school))
  sex <- factor(sex, levels = c("F", "M"))
})
cbpp <- within(package_table("cbpp"), {
  herd <- factor(herd, levels = unique(herd))
  period <- factor(period, levels = c("1", "2", "3", "4"))
})
sleepstudy <- within(package_table("sleepstudy"), {
  Subject <- factor(Subject, levels = unique(Subject))
  w <- rep_len(c(1, 2, 0.5), length(Subject))
  o <- rep_len(c(0, 10, -5, 20), length(Subject))
})
pastes <- table_beside("pastes", c("batch", "cask", "sample"))
penicillin <- table_beside("penicillin", c("plate", "sample"))
grouseticks <- within(table_beside("grouseticks", c("INDEX", "BROOD", "YEAR", "LOCATION")), {
  YEAR <- factor(YEAR, levels = c("95", "96", "97"))
})

# ------------------------------------------------------------------------------------------------------- fits

# nlopt's BOBYQA run on until nothing moves, and restarted: the optimum, not where the default tolerance stops.
exact <- list(xtol_rel = 1e-12, xtol_abs = 1e-12, ftol_rel = 1e-15, ftol_abs = 1e-14, maxeval = 100000)
mixed <- function(formula, data, family = binomial, restarts = 3) {
  control <- glmerControl(optimizer = "nloptwrap", calc.derivs = TRUE, tolPwrss = 1e-13, optCtrl = exact)
  # eval() so that the call holds the formula itself, which update() and drop1() need.
  refit <- function(start) suppressWarnings(eval(bquote(
    lme4::glmer(.(formula), data = data, family = family, control = control, start = start)
  )))
  best <- refit(NULL)
  for (i in seq_len(restarts)) {
    again <- refit(list(theta = getME(best, "theta"), fixef = fixef(best)))
    if (logLik(again) > logLik(best)) best <- again
  }
  best
}
lmer_control <- lmerControl(optimizer = "nloptwrap", optCtrl = exact)
linear <- function(formula, data, reml = TRUE, weights = NULL) {
  data$.w <- if (is.null(weights)) 1 else data[[weights]]
  suppressWarnings(eval(bquote(
    lmerTest::lmer(.(formula), data = data, REML = reml, weights = .w, control = lmer_control)
  )))
}

named <- function(values, names) as.list(setNames(as.numeric(values), names))
version_of <- function(package) packageDescription(package)$Version
text_of <- function(formula) paste(deparse(formula, width.cutoff = 500), collapse = "")

# ----------------------------------------------------------------------------- Satterthwaite's degrees of freedom

satterthwaite <- function(data, formula, reml = TRUE, weights = NULL, contrast = NULL) {
  model <- linear(formula, get(data), reml, weights)
  table <- coef(summary(model, ddf = "Satterthwaite"))
  out <- list(
    data = data, formula = text_of(formula), reml = reml, weights = weights, terms = rownames(table),
    estimate = as.numeric(table[, "Estimate"]), se = as.numeric(table[, "Std. Error"]),
    df = as.numeric(table[, "df"]), t = as.numeric(table[, "t value"]), p = as.numeric(table[, "Pr(>|t|)"])
  )
  if (!is.null(contrast)) {
    one <- contest1D(model, contrast, ddf = "Satterthwaite")
    out$contrast <- list(weights = contrast, estimate = one[["Estimate"]], se = one[["Std. Error"]],
                         df = one[["df"]], p = one[["Pr(>|t|)"]])
  }
  out
}

degrees <- list(
  sleep = satterthwaite("sleepstudy", Reaction ~ Days + (Days | Subject), contrast = c(1, 5)),
  sleep_ml = satterthwaite("sleepstudy", Reaction ~ Days + (Days | Subject), reml = FALSE),
  sleep_uncorrelated = satterthwaite("sleepstudy", Reaction ~ Days + (Days || Subject)),
  sleep_intercepts = satterthwaite("sleepstudy", Reaction ~ Days + (1 | Subject)),
  sleep_weights = satterthwaite("sleepstudy", Reaction ~ Days + offset(o) + (Days | Subject), weights = "w",
                                contrast = c(0.5, 2)),
  pastes = satterthwaite("pastes", strength ~ 1 + (1 | batch/cask)),
  pastes_cask = satterthwaite("pastes", strength ~ cask + (1 | batch)),
  penicillin = satterthwaite("penicillin", diameter ~ 1 + (1 | plate) + (1 | sample)),
  exam = satterthwaite("exam", normexam ~ standLRT * sex + schavg + (1 + standLRT | school))
)

# ---------------------------------------------------------------------- likelihood-ratio tests and dropped terms

test_of <- function(small, big) {
  chisq <- 2 * as.numeric(logLik(big) - logLik(small))
  df <- attr(logLik(big), "df") - attr(logLik(small), "df")
  list(chisq = chisq, df = df, p = pchisq(chisq, df, lower.tail = FALSE),
       p_half = 0.5 * (pchisq(chisq, df, lower.tail = FALSE) +
                         if (df > 1) pchisq(chisq, df - 1, lower.tail = FALSE) else 0))
}

m_00 <- glm(use ~ age + urban + livch, binomial, contraception)
m_01 <- mixed(use ~ age + urban + livch + (1 | district), contraception)
m_04 <- mixed(use ~ age * ch + I(age^2) + urban + (1 | district), contraception)
m_05 <- mixed(use ~ age * ch + I(age^2) + urban + (1 | urban:district), contraception)
nested <- mixed(use ~ age * ch + I(age^2) + urban + (1 | district/urban), contraception)
slope <- mixed(use ~ age * ch + I(age^2) + urban + (1 + urban | district), contraception)

tests <- list(
  glm_mixed = test_of(m_00, m_01),
  nested = test_of(m_05, nested),
  slope = test_of(m_04, slope),
  sleep_ml = test_of(linear(Reaction ~ 1 + (Days | Subject), sleepstudy, FALSE),
                     linear(Reaction ~ Days + (Days | Subject), sleepstudy, FALSE)),
  sleep_reml_slope = test_of(linear(Reaction ~ Days + (1 | Subject), sleepstudy),
                             linear(Reaction ~ Days + (Days | Subject), sleepstudy))
)

dropped_of <- function(table) {
  list(term = rownames(table), df = as.numeric(table[[intersect(c("Df", "npar"), names(table))[1]]]),
       aic = as.numeric(table[["AIC"]]), chisq = as.numeric(table[["LRT"]]),
       p = as.numeric(table[[grep("^Pr", names(table))]]))
}
dropped <- list(
  m_00 = dropped_of(drop1(m_00, test = "Chisq")),
  m_05 = local({
    # The formula update() drops from, term by term, at the same tolerances.
    base <- use ~ age * ch + I(age^2) + urban + (1 | urban:district)
    terms <- drop.scope(lme4::nobars(base))
    rows <- lapply(terms, function(term) {
      small <- mixed(update(base, as.formula(paste("~ . -", term))), contraception)
      c(test_of(small, m_05), aic = AIC(small))
    })
    list(term = c("<none>", terms), aic = c(AIC(m_05), sapply(rows, `[[`, "aic")),
         df = c(NA, sapply(rows, `[[`, "df")), chisq = c(NA, sapply(rows, `[[`, "chisq")),
         p = c(NA, sapply(rows, `[[`, "p")))
  }),
  sleep_reml_random = local({
    # ranova() evaluates the call again.
    table <- ranova(lmerTest::lmer(Reaction ~ Days + (Days | Subject), sleepstudy, control = lmer_control))
    list(term = rownames(table), npar = table$npar, loglik = table$logLik, chisq = table$LRT, df = table$Df)
  })
)

# ------------------------------------------------------------------------------------ R², ICC, odds between groups

# The observation-level variance of Nakagawa, Johnson & Schielzeth (2017) at the mean of the null model, which is
# integrated over the groups here, not approximated.
mean_of <- function(null, family) {
  beta <- fixef(null)[[1]]
  sd <- sqrt(sum(vapply(VarCorr(null), function(v) v[1, 1], 0)))
  integrate(function(u) family$linkinv(beta + sd * u) * dnorm(u), -12, 12, rel.tol = 1e-12)$value
}
shares <- function(model, null) {
  fam <- family(model)
  fixed <- var(as.numeric(model.matrix(model) %*% fixef(model)))
  between <- sum(vapply(VarCorr(model), function(v) v[1, 1], 0))
  m <- mean_of(null, fam)
  residual <- if (fam$family == "poisson") {
    list(delta = 1 / m, lognormal = log1p(1 / m), trigamma = trigamma(m))
  } else {
    list(theoretical = switch(fam$link, logit = pi^2 / 3, probit = 1, cloglog = pi^2 / 6),
         delta = m * (1 - m) / fam$mu.eta(fam$linkfun(m))^2)
  }
  out <- lapply(residual, function(v) {
    list(marginal = fixed / (fixed + between + v), conditional = (fixed + between) / (fixed + between + v),
         icc = between / (between + v))
  })
  c(out, list(mean = m))
}
by_mumin <- function(name, model) {
  if (!requireNamespace("MuMIn", quietly = TRUE)) return(before$shares[[name]]$MuMIn)
  table <- suppressWarnings(MuMIn::r.squaredGLMM(model))
  lapply(setNames(rownames(table), rownames(table)), function(row) named(table[row, ], c("marginal", "conditional")))
}
by_performance <- function(model) {
  r2 <- suppressWarnings(r2_nakagawa(model))
  list(marginal = r2$R2_marginal[[1]], conditional = r2$R2_conditional[[1]],
       icc = suppressWarnings(icc(model))$ICC_adjusted[[1]])
}
only <- function(formula) update(formula, ~ 1)
share_of <- function(name, data, formula, null, family, also_performance = TRUE) {
  table <- get(data)
  model <- mixed(formula, table, family)
  out <- list(data = data, formula = text_of(formula), family = family$family, link = family$link)
  out <- c(out, shares(model, mixed(null, table, family)))
  environment(formula) <- list2env(list(data = table, family = family), parent = globalenv())
  refitted <- suppressWarnings(eval(bquote(lme4::glmer(.(formula), data = .(as.name(data)), family = .(family)))))
  out$MuMIn <- by_mumin(name, refitted)
  if (also_performance) out$performance <- by_performance(model)
  out
}

r2 <- list(
  m_04 = share_of("m_04", "contraception", use ~ age * ch + I(age^2) + urban + (1 | district),
                  use ~ 1 + (1 | district), binomial()),
  m_05 = share_of("m_05", "contraception", use ~ age * ch + I(age^2) + urban + (1 | urban:district),
                  use ~ 1 + (1 | urban:district), binomial()),
  m_05_cloglog = share_of("m_05_cloglog", "contraception", use ~ age * ch + I(age^2) + urban + (1 | urban:district),
                          use ~ 1 + (1 | urban:district), binomial("cloglog")),
  m_05_probit = share_of("m_05_probit", "contraception", use ~ age * ch + I(age^2) + urban + (1 | urban:district),
                         use ~ 1 + (1 | urban:district), binomial("probit")),
  grouse = share_of("grouse", "grouseticks", TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION),
                    TICKS ~ 1 + (1 | BROOD) + (1 | LOCATION), poisson(), FALSE),
  sleep = local({
    model <- linear(Reaction ~ Days + (Days | Subject), sleepstudy)
    list(data = "sleepstudy", formula = "Reaction ~ Days + (Days | Subject)", family = "gaussian", link = "identity",
         MuMIn = if (requireNamespace("MuMIn", quietly = TRUE)) {
           named(suppressWarnings(MuMIn::r.squaredGLMM(model))[1, ], c("marginal", "conditional"))
         } else before$shares$sleep$MuMIn)
  })
)

# -------------------------------------------------------------------------------- classification and dispersion

classified <- function(model, data) {
  p <- fitted(model)
  y <- data$use == "Y"
  table <- table(predicted = factor(p > 0.5, c(FALSE, TRUE)), observed = factor(y, c(FALSE, TRUE)))
  ranks <- rank(p)
  auc <- (sum(ranks[y]) - sum(y) * (sum(y) + 1) / 2) / (sum(y) * sum(!y))
  list(true_negatives = table[1, 1], false_negatives = table[1, 2], false_positives = table[2, 1],
       true_positives = table[2, 2], auc = auc)
}
pearson_of <- function(model) {
  chisq <- sum(residuals(model, type = "pearson")^2)
  list(chisq = chisq, df = df.residual(model), ratio = chisq / df.residual(model),
       p = pchisq(chisq, df.residual(model), lower.tail = FALSE))
}
herds <- mixed(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp)
grouse <- mixed(TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION), grouseticks, poisson)

# ------------------------------------------------------------------------------------------------- hypotheses

wald_of <- function(model, L, right) {
  V <- as.matrix(vcov(model))
  L <- matrix(L, ncol = ncol(V))
  d <- as.numeric(L %*% fixef(model)) - right
  VL <- L %*% V %*% t(L)
  chisq <- as.numeric(t(d) %*% solve(VL, d))
  list(estimate = d, se = sqrt(diag(VL)), chisq = chisq, df = nrow(L),
       p = pchisq(chisq, nrow(L), lower.tail = FALSE))
}

# m_01: Intercept, age, urbanY, livch1, livch2, livch3+
hypotheses <- list(
  equal = wald_of(m_01, c(0, 0, 0, 1, -1, 0), 0),
  mixed = wald_of(m_01, c(0, 2, -0.5, 0, 0, 0), 0.1),
  joint = wald_of(m_01, rbind(c(0, 0, 0, 1, -1, 0), c(0, 0, 0, 0, 1, -1)), c(0, 0))
)

note <- list(
  software = list(R = R.version.string, lme4 = version_of("lme4"), lmerTest = version_of("lmerTest"),
                  performance = version_of("performance"), insight = version_of("insight"),
                  MuMIn = if (requireNamespace("MuMIn", quietly = TRUE)) version_of("MuMIn") else before$`_note`$software$MuMIn),
  script = "around.R",
  optimum = "nloptwrap (xtol 1e-12, ftol 1e-15) with restarts for glmer, so that the optimum is lme4's own and exact",
  p_half = "half chi-square with df - 1, half with df: one variance tested at zero",
  shares = paste(
    "variances as Nakagawa, Johnson & Schielzeth (2017); delta at the null model's mean, integrated exactly.",
    "MuMIn's delta takes an approximate mean and a fit at lme4's default tolerances"
  )
)
out <- list(`_note` = note, satterthwaite = degrees, tests = tests, dropped = dropped, shares = r2,
            classification = list(m_04 = classified(m_04, contraception), m_05 = classified(m_05, contraception)),
            dispersion = list(cbpp = pearson_of(herds), grouseticks = pearson_of(grouse)),
            hypotheses = hypotheses)
writeLines(toJSON(out, digits = NA, auto_unbox = TRUE, na = "null", null = "null", pretty = TRUE), target)
cat("wrote around.json\n")
