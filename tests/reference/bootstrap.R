# lme4's parametric bootstrap (bootMer, new group effects, 2,000 replicates), written to bootstrap.json beside this script.
#
#   Rscript tests/reference/bootstrap.R
#
# Needs lme4 and jsonlite; takes about five minutes.  Of every quantity its mean, its standard deviation and the
# 95 % percentile limits, each with its Monte-Carlo standard error: of a quantile that of its order statistics.

suppressPackageStartupMessages({
  library(lme4)
  library(jsonlite)
})

script <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
here <- if (length(script)) dirname(normalizePath(script)) else getwd()
replicates <- 2000

quantities <- function(model) {
  groups <- as.data.frame(VarCorr(model), order = "lower.tri")
  is_cor <- !is.na(groups$var2)
  name <- ifelse(groups$grp == "Residual", "sigma",
                 ifelse(is_cor, "cor", paste0("sd_", groups$var1)))
  c(fixef(model), setNames(groups$sdcor, name))
}

# Standard error of a quantile: a quarter of the distance of the order statistics two standard deviations of its rank away.
order_error <- function(values, p) {
  n <- length(values)
  spread <- sqrt(n * p * (1 - p))
  ranks <- pmin(pmax((n + 1) * p + c(-2, 2) * spread, 1), n)
  diff(approx(seq_len(n), sort(values), ranks)$y) / 4
}

bootstrapped <- function(model, seed) {
  drawn <- suppressMessages(suppressWarnings(bootMer(model, quantities, nsim = replicates, seed = seed)))
  of <- lapply(seq_along(drawn$t0), function(j) {
    values <- drawn$t[!is.na(drawn$t[, j]), j]
    n <- length(values)
    list(
      estimate = drawn$t0[[j]], n = n, mean = mean(values), mean_error = sd(values) / sqrt(n), sd = sd(values),
      # The kurtosis says how uncertain a standard deviation is.
      sd_error = sqrt((mean((values - mean(values))^4) - var(values)^2) / n) / (2 * sd(values)),
      low = quantile(values, 0.025, type = 6)[[1]], low_error = order_error(values, 0.025),
      high = quantile(values, 0.975, type = 6)[[1]], high_error = order_error(values, 0.975)
    )
  })
  setNames(of, names(drawn$t0))
}

options <- list(xtol_rel = 1e-10, xtol_abs = 1e-10, ftol_rel = 1e-12, ftol_abs = 1e-10, maxeval = 10000)
binary <- glmerControl(optimizer = "nloptwrap", calc.derivs = FALSE, tolPwrss = 1e-12, optCtrl = options)
linear <- lmerControl(optimizer = "nloptwrap", calc.derivs = FALSE, optCtrl = options)

out <- list(
  `_note` = list(software = paste0("lme4 ", packageVersion("lme4"), " on R ", getRversion()),
                 replicates = replicates, level = 0.95),
  sleep = bootstrapped(lmer(Reaction ~ Days + (Days | Subject), sleepstudy, control = linear), 1),
  cbpp = bootstrapped(
    glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, binomial, control = binary), 2
  )
)
write_json(out, file.path(here, "bootstrap.json"), digits = 8, auto_unbox = TRUE, pretty = TRUE)
