# Profile-likelihood limits of lme4 at tight tolerances, written to profile.json beside this script.
#
#   Rscript tests/reference/profile.R
#
# Needs lme4 and jsonlite; takes about a minute.  lme4 interpolates its profiles by splines: limits are good to some
# 1e-4 of the interval, those of a correlation to 1e-3.

suppressPackageStartupMessages({
  library(lme4)
  library(jsonlite)
})

script <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
here <- if (length(script)) dirname(normalizePath(script)) else getwd()
datasets <- file.path(here, "..", "..", "bayesmlm", "datasets")

contraception <- within(read.csv(file.path(datasets, "contraception.csv"), stringsAsFactors = FALSE), {
  district <- factor(district, levels = unique(district))
  use <- factor(use, levels = c("N", "Y"))
  urban <- factor(urban, levels = c("N", "Y"))
  ch <- factor(ch, levels = c("N", "Y"))
})
write.csv(Dyestuff2, file.path(here, "dyestuff2.csv"), row.names = FALSE, quote = FALSE)

options <- list(xtol_rel = 1e-12, xtol_abs = 1e-12, ftol_rel = 1e-14, ftol_abs = 1e-14, maxeval = 100000)
binary <- glmerControl(optimizer = "nloptwrap", calc.derivs = FALSE, tolPwrss = 1e-13, optCtrl = options)
linear <- lmerControl(optimizer = "nloptwrap", calc.derivs = FALSE, optCtrl = options)

limits <- function(model) {
  ci <- suppressWarnings(confint(model, method = "profile", oldNames = FALSE, quiet = TRUE))
  list(quantity = rownames(ci), low = unname(ci[, 1]), high = unname(ci[, 2]))
}

out <- list(
  `_note` = list(software = paste0("lme4 ", packageVersion("lme4"), " on R ", getRversion()), level = 0.95),
  sleep_slope = limits(lmer(Reaction ~ Days + (Days | Subject), sleepstudy, control = linear)),
  sleep_intercept = limits(lmer(Reaction ~ Days + (1 | Subject), sleepstudy, REML = FALSE, control = linear)),
  penicillin = limits(lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin, control = linear)),
  pastes = limits(lmer(strength ~ 1 + (1 | batch / cask), Pastes, control = linear)),
  dyestuff2 = limits(lmer(Yield ~ 1 + (1 | Batch), Dyestuff2, control = linear)),
  cbpp = limits(glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, binomial, control = binary)),
  con_int = limits(glmer(
    use ~ I(age / 10) * ch + I((age / 10)^2) + urban + (1 | district), contraception, binomial, control = binary
  )),
  con_slope = limits(glmer(
    use ~ I(age / 10) + urban + (urban | district), contraception, binomial, control = binary
  ))
)
write_json(out, file.path(here, "profile.json"), digits = NA, auto_unbox = TRUE, pretty = TRUE)
