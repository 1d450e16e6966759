# Effects on the scales and averages of bayesmlm.effects: estimated marginal means and their contrasts by emmeans,
# predictions on a grid by ggeffects, and, with vcov() and the joint Hessian of lme4, averages over the data and over the
# distribution of the group effects, by the delta method with central differences.  Written to effects.json beside
# this script.
#
#   Rscript tests/reference/effects.R
#
# Needs lme4, emmeans, ggeffects and jsonlite.  Data are csv files of the package.

suppressPackageStartupMessages({
  library(lme4)
  library(emmeans)
  library(ggeffects)
  library(jsonlite)
})
set.seed(1)

script <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
here <- if (length(script)) dirname(normalizePath(script)) else getwd()
package_table <- function(name) {
  read.csv(file.path(here, "..", "..", "bayesmlm", "datasets", paste0(name, ".csv")), stringsAsFactors = FALSE)
}
women <- within(package_table("contraception"), {
  use <- factor(use, levels = c("N", "Y"))
  urban <- factor(urban, levels = c("N", "Y"))
  livch <- factor(livch, levels = c("0", "1", "2", "3+"))
  ch <- factor(ifelse(livch == "0", "N", "Y"), levels = c("N", "Y"))
  district <- factor(district)
})
cbpp <- within(package_table("cbpp"), {
  herd <- factor(herd)
  period <- factor(period)
})
sleepstudy <- within(package_table("sleepstudy"), Subject <- factor(Subject))

# BOBYQA run on until nothing moves: the optimum, not where the default tolerance stops.
tight <- list(xtol_rel = 1e-12, xtol_abs = 1e-12, ftol_rel = 1e-15, ftol_abs = 1e-14, maxeval = 100000)
quiet <- function(expression) suppressMessages(suppressWarnings(expression))
# The data by name, so that emmeans finds them again.
glmm <- function(formula, data, family = binomial) {
  control <- glmerControl(optimizer = "nloptwrap", tolPwrss = 1e-13, optCtrl = tight)
  quiet(eval(bquote(glmer(.(formula), data = .(as.name(data)), family = family, control = control))))
}

# plain columns of emmeans' tables; p-values and limits as asked for
plain <- function(table, ...) {
  table <- as.data.frame(summary(table, infer = c(TRUE, TRUE), ...))
  named <- c(emmean = "estimate", prob = "estimate", rate = "estimate", odds.ratio = "estimate", ratio = "estimate",
             SE = "std_error", z.ratio = "statistic", p.value = "p_value", asymp.LCL = "conf_low", asymp.UCL = "conf_high")
  names(table) <- ifelse(names(table) %in% names(named), named[names(table)], names(table))
  names(table) <- sub("\\.trend$", "", names(table))
  keep <- intersect(c("estimate", "age", "Days", "std_error", "statistic", "p_value", "conf_low", "conf_high"), names(table))
  out <- as.list(table[keep])
  names(out)[names(out) %in% c("age", "Days")] <- "estimate"
  lapply(out, as.numeric)
}

# estimated marginal means -----------------------------------------------------------------------------------------

livch <- glmm(use ~ age + urban + livch + (1 | district), "women")
emm <- emmeans(livch, ~livch)
adjustments <- c("none", "tukey", "holm", "bonferroni", "mvt")
pairs_of_livch <- lapply(setNames(adjustments, adjustments), function(adjust) plain(pairs(emm, reverse = TRUE), adjust = adjust))
on_response <- emmeans(livch, ~livch, regrid = "response")
emmeans_livch <- list(
  link = plain(emm), response = plain(on_response), pairs = pairs_of_livch,
  odds_ratios = plain(pairs(emm, reverse = TRUE), type = "response", adjust = "none"),
  response_pairs = plain(pairs(on_response, reverse = TRUE), adjust = "none"),
  sequential = plain(contrast(emm, "consec"), adjust = "none"),
  quadratic = plain(contrast(emm, list(quadratic = c(1, -1, -1, 1))), adjust = "none")
)

m_05 <- glmm(use ~ age * ch + I(age^2) + urban + (1 | urban:district), "women")
trend <- function(...) emtrends(m_05, ~ch, var = "age", at = list(age = -10), delta.var = 1e-4, ...)
products <- glmm(use ~ age + urban * ch + (1 | district), "women")
emmeans_products <- list(
  interaction = plain(contrast(emmeans(products, ~ urban * ch), interaction = "revpairwise")),
  within = plain(pairs(emmeans(products, ~ urban | ch), reverse = TRUE), by = NULL, adjust = "none")
)
poisson <- glmm(incidence ~ period + offset(log(size)) + (1 | herd), "cbpp", family = poisson)
rates <- emmeans(poisson, ~period)
emmeans_offset <- list(link = plain(rates), ratios = plain(pairs(rates, reverse = TRUE), type = "response", adjust = "none"))
sleep <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy, REML = FALSE, control = lmerControl(
  optimizer = "nloptwrap", optCtrl = tight))
emm_options(lmer.df = "asymptotic")
emmeans_gaussian <- list(means = plain(emmeans(sleep, ~Days, at = list(Days = c(0, 9)))))

# predictions on a grid --------------------------------------------------------------------------------------------

predicted <- quiet(as.data.frame(ggpredict(m_05, terms = c("age [-10, 0, 10]", "ch", "urban"))))
predicted <- predicted[order(predicted$facet, predicted$group, predicted$x), ]
ggeffects_grid <- list(
  age = predicted$x, ch = as.character(predicted$group), urban = as.character(predicted$facet),
  estimate = predicted$predicted, link_error = predicted$std.error, conf_low = predicted$conf.low,
  conf_high = predicted$conf.high
)

# averages over the data: the delta method by central differences ------------------------------------------------------

delta <- function(f, at, V) {
  h <- 1e-5 * sqrt(diag(V))
  J <- sapply(seq_along(at), function(j) {
    up <- down <- at
    up[j] <- at[j] + h[j]
    down[j] <- at[j] - h[j]
    (f(up) - f(down)) / (2 * h[j])
  })
  J <- matrix(J, ncol = length(at))
  list(estimate = I(as.numeric(f(at))), std_error = I(sqrt(rowSums((J %*% V) * J))))
}
fixed_rows <- function(model, data) model.matrix(delete.response(terms(model, fixed.only = TRUE)), data)
set <- function(data, name, value) {
  data[[name]] <- if (is.factor(data[[name]])) factor(value, levels = levels(data[[name]])) else value
  data
}
logit <- qlogis
typical <- function(model, f) delta(f, fixef(model), as.matrix(vcov(model)))
X0 <- fixed_rows(m_05, set(women, "urban", "N"))
X1 <- fixed_rows(m_05, set(women, "urban", "Y"))
step <- 1e-3
up <- fixed_rows(m_05, within(women, age <- age + step))
down <- fixed_rows(m_05, within(women, age <- age - step))
on_data <- list(
  difference = typical(m_05, function(b) mean(plogis(X1 %*% b)) - mean(plogis(X0 %*% b))),
  lnratio = typical(m_05, function(b) log(mean(plogis(X1 %*% b)) / mean(plogis(X0 %*% b)))),
  lnratio_rows = typical(m_05, function(b) mean(log(plogis(X1 %*% b) / plogis(X0 %*% b)))),
  lnoddsratio = typical(m_05, function(b) mean(X1 %*% b - X0 %*% b)),
  lnoddsratio_means = typical(m_05, function(b) logit(mean(plogis(X1 %*% b))) - logit(mean(plogis(X0 %*% b)))),
  difference_by_ch = typical(m_05, function(b) tapply(plogis(X1 %*% b) - plogis(X0 %*% b), women$ch, mean)),
  difference_of_differences = typical(m_05, function(b) {
    diff(tapply(plogis(X1 %*% b) - plogis(X0 %*% b), women$ch, mean))
  }),
  slope = typical(m_05, function(b) mean(plogis(up %*% b) - plogis(down %*% b)) / (2 * step)),
  means_of_ch = typical(m_05, function(b) {
    sapply(c("N", "Y"), function(level) mean(plogis(fixed_rows(m_05, set(women, "ch", level)) %*% b)))
  })
)

# averages over the data and the groups: the variance's uncertainty from the joint Hessian of the deviance ------------

joint <- function(model) {
  H <- model@optinfo$derivs$Hessian
  list(at = c(getME(model, "theta"), fixef(model)), V = solve(0.5 * (H + t(H)) / 2))
}
averaged <- function(eta, sd) {
  vapply(eta, function(e) {
    integrate(function(u) dnorm(u) * plogis(e + sd * u), -9, 9, rel.tol = 1e-11, subdivisions = 500)$value
  }, 0)
}
population <- function(model, f) {
  joined <- joint(model)
  delta(function(psi) f(abs(psi[1]), psi[-1]), joined$at, joined$V)
}
# Every tenth woman, where averages are compared: the integrals take their time.
some <- women[seq(1, nrow(women), 10), ]
S0 <- fixed_rows(m_05, set(some, "urban", "N"))
S1 <- fixed_rows(m_05, set(some, "urban", "Y"))
X <- fixed_rows(m_05, women)
projection <- solve(crossprod(X), t(X))
in_population <- list(
  means = population(m_05, function(sd, b) c(mean(averaged(S0 %*% b, sd)), mean(averaged(S1 %*% b, sd)))),
  difference = population(m_05, function(sd, b) mean(averaged(S1 %*% b, sd)) - mean(averaged(S0 %*% b, sd))),
  lnoddsratio = population(m_05, function(sd, b) mean(logit(averaged(S1 %*% b, sd)) - logit(averaged(S0 %*% b, sd)))),
  coefficients = population(m_05, function(sd, b) projection %*% logit(averaged(X %*% b, sd)))
)

out <- list(
  `_note` = list(
    software = list(R = R.version.string, lme4 = packageDescription("lme4")$Version,
                    emmeans = packageDescription("emmeans")$Version, ggeffects = packageDescription("ggeffects")$Version),
    script = "effects.R", optimum = "nloptwrap, xtol 1e-12 and ftol 1e-15",
    errors = "from vcov(model), the Hessian by lme4's finite differences"
  ),
  emmeans_livch = emmeans_livch,
  emtrends = list(link = plain(trend()), response = plain(trend(regrid = "response"))),
  emmeans_products = emmeans_products, emmeans_offset = emmeans_offset, emmeans_gaussian = emmeans_gaussian,
  ggeffects_grid = ggeffects_grid, on_data = on_data, in_population = in_population
)
writeLines(toJSON(out, digits = NA, auto_unbox = TRUE, null = "null", pretty = TRUE), file.path(here, "effects.json"))
