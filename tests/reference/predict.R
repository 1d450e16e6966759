# Predictions of lme4 and glmmTMB for known and new groups, written to predict.json beside this script.
#
#   Rscript tests/reference/predict.R
#
# Needs lme4, glmmTMB and jsonlite; takes under a minute.  Predictions are lme4's, their standard errors glmmTMB's.  Data
# are the csv files of the package and of this folder.

suppressPackageStartupMessages({
  library(lme4)
  library(glmmTMB)
  library(jsonlite)
})

script <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
here <- if (length(script)) dirname(normalizePath(script)) else getwd()
package_table <- function(name) {
  read.csv(file.path(here, "..", "..", "bayesmlm", "datasets", paste0(name, ".csv")), stringsAsFactors = FALSE)
}
contraception <- within(package_table("contraception"), {
  district <- factor(district, levels = unique(district))
  use <- factor(use, levels = c("N", "Y"))
  urban <- factor(urban, levels = c("N", "Y"))
  ch <- factor(ch, levels = c("N", "Y"))
})
cbpp <- within(package_table("cbpp"), {
  herd <- factor(herd, levels = unique(herd))
  period <- factor(period, levels = c("1", "2", "3", "4"))
  o <- rep_len(c(0, 0.5, -0.3), length(herd))
})
sleepstudy <- within(package_table("sleepstudy"), {
  Subject <- factor(Subject, levels = unique(Subject))
  w <- rep_len(c(1, 2, 0.5), length(Subject))
  o <- rep_len(c(0, 10, -5, 20), length(Subject))
})
grouseticks <- within(read.csv(file.path(here, "grouseticks.csv"), colClasses = c(
  INDEX = "character", BROOD = "character", YEAR = "character", LOCATION = "character"
)), {
  YEAR <- factor(YEAR, levels = c("95", "96", "97"))
  BROOD <- factor(BROOD, levels = unique(BROOD))
  LOCATION <- factor(LOCATION, levels = unique(LOCATION))
})

exact <- list(xtol_rel = 1e-12, xtol_abs = 1e-12, ftol_rel = 1e-15, ftol_abs = 1e-14, maxeval = 100000)
binary <- glmerControl(optimizer = "nloptwrap", tolPwrss = 1e-13, optCtrl = exact)
linear <- lmerControl(optimizer = "nloptwrap", optCtrl = exact)

# Every k-th row, the last two of them in groups nobody has seen.
rows_of <- function(data, groups, every) {
  new <- data[seq(1, nrow(data), by = every), ]
  for (group in groups) {
    new[[group]] <- as.character(new[[group]])
    new[[group]][nrow(new) - 1:0] <- "9999"
  }
  new
}

# Errors of η by glmmTMB: of a typical group, and given the groups' effects with the variances held at their estimates,
# as ours are.
by_glmmTMB <- function(formula, data, family, new) {
  control <- glmmTMBControl(optCtrl = list(iter.max = 1e4, eval.max = 1e4, rel.tol = 1e-14))
  fitted <- function(...) {
    suppressWarnings(glmmTMB(formula, data, family, REML = family$family == "gaussian", control = control, ...))
  }
  error <- function(model, ...) {
    unname(predict(model, new, se.fit = TRUE, allow.new.levels = TRUE, type = "link", ...)$se.fit)
  }
  free <- fitted()
  at <- free$obj$env$parList()[c("theta", "betad")]
  held <- fitted(start = at, map = lapply(at, function(x) factor(rep(NA, length(x)))))
  list(typical_link_se = error(free, re.form = NA), conditional_link_se = error(held))
}

entry <- function(data, formula, groups, every, family = binomial(), weights = NULL) {
  table <- get(data)
  new <- rows_of(table, groups, every)
  table$.w <- if (is.null(weights)) 1 else table[[weights]]
  model <- suppressWarnings(
    if (family$family == "gaussian") lmer(formula, table, weights = .w, control = linear)
    else glmer(formula, table, family, control = binary)
  )
  given <- function(...) unname(predict(model, new, allow.new.levels = TRUE, ...))
  entry <- list(
    data = data, formula = paste(deparse(formula, width.cutoff = 500), collapse = ""), family = family$family,
    weights = weights, new = as.list(new),
    conditional_link = given(type = "link"), conditional = given(type = "response"),
    typical_link = given(re.form = NA, type = "link"), typical = given(re.form = NA, type = "response")
  )
  # To glmmTMB weights of a gaussian response are another thing, and a typical group's error by REML too.
  if (is.null(weights)) entry <- c(entry, by_glmmTMB(formula, table, family, new))
  if (family$family == "gaussian") {
    X <- getME(model, "X")[match(rownames(new), rownames(table)), ]
    entry$typical_link_se <- unname(sqrt(rowSums((X %*% as.matrix(vcov(model))) * X)))
  }
  entry
}

out <- list(
  `_note` = list(software = paste0("lme4 ", packageVersion("lme4"), ", glmmTMB ", packageVersion("glmmTMB"),
                                   " on R ", getRversion())),
  con_slope = entry("contraception", use ~ age * ch + I(age^2) + urban + (urban | district), "district", 97),
  con_poly = entry("contraception", use ~ poly(age, 2) * ch + urban + (1 | district), "district", 97),
  cbpp = entry("cbpp", cbind(incidence, size - incidence) ~ period + offset(o) + (1 | herd), "herd", 5),
  sleep = entry("sleepstudy", Reaction ~ Days + (Days | Subject), "Subject", 11, gaussian()),
  sleep_weights = entry("sleepstudy", Reaction ~ scale(Days) + offset(o) + (Days | Subject), "Subject", 11,
                        gaussian(), "w"),
  grouse = entry("grouseticks", TICKS ~ YEAR + poly(cHEIGHT, 2) + (1 | BROOD) + (1 | LOCATION),
                 c("BROOD", "LOCATION"), 37, poisson())
)
write_json(out, file.path(here, "predict.json"), digits = NA, auto_unbox = TRUE, null = "null", pretty = TRUE)
