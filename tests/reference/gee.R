# Generalised estimating equations of R's geepack and gee, at tight tolerances but where said.  Written to gee.json
# beside this script, with the data sets of geepack that it uses as csv.
#
#   BAYESMLM_DATA=<folder with nhanes_2012.csv> Rscript tests/reference/gee.R
#
# Needs geepack, gee and jsonlite.  Without BAYESMLM_DATA the entries of the NHANES data stay as they are.

suppressPackageStartupMessages({
  library(geepack)
  library(gee)
  library(jsonlite)
})

script <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
here <- if (length(script)) dirname(normalizePath(script)) else getwd()
target <- file.path(here, "gee.json")
before <- if (file.exists(target)) fromJSON(target, simplifyVector = FALSE) else list()

# data ---------------------------------------------------------------------------------------------------------

write_table <- function(data, name) write.csv(data, file.path(here, paste0(name, ".csv")), row.names = FALSE, quote = FALSE)

data(ohio)
# Some visits are taken out for the tests of gaps; what is left has clusters of one row, too.
ohio$kept <- as.integer((seq_len(nrow(ohio)) * 7) %% 11 > 2)
write_table(ohio, "ohio")

data(respiratory)
respiratory$person <- as.integer(interaction(respiratory$id, respiratory$center, drop = TRUE))
respiratory <- respiratory[order(respiratory$person, respiratory$visit), ]
write_table(respiratory, "respiratory")

data(seizure)
seizure$person <- seq_len(nrow(seizure))
epilepsy <- do.call(rbind, lapply(0:4, function(visit) data.frame(
  person = seizure$person, visit = visit, count = seizure[[c("base", "y1", "y2", "y3", "y4")[visit + 1]]],
  weeks = if (visit == 0) 8 else 2, treated = seizure$trt, after = as.integer(visit > 0), age = seizure$age)))
epilepsy <- epilepsy[order(epilepsy$person, epilepsy$visit), ]
write_table(epilepsy, "epilepsy")

package_table <- function(name) {
  read.csv(file.path(here, "..", "..", "bayesmlm", "datasets", paste0(name, ".csv")), stringsAsFactors = FALSE)
}
cbpp <- within(package_table("cbpp"), {
  herd <- as.integer(herd)
  visit <- as.integer(period)
  period <- factor(period, levels = c("1", "2", "3", "4"))
})
sleepstudy <- within(package_table("sleepstudy"), {
  person <- as.integer(Subject)
  w <- rep_len(c(1, 2, 0.5), length(Subject))
})
tables <- list(ohio = ohio, respiratory = respiratory, epilepsy = epilepsy, cbpp = cbpp, sleepstudy = sleepstudy)

# models -------------------------------------------------------------------------------------------------------

models <- list(
  ohio = list(data = "ohio", formula = "resp ~ age*smoke", family = "binomial", id = "id", time = "age"),
  gaps = list(data = "ohio", formula = "resp ~ age*smoke", family = "binomial", id = "id", time = "age", kept = TRUE),
  probit = list(data = "ohio", formula = "resp ~ age*smoke", family = "binomial", link = "probit", id = "id", time = "age"),
  respiratory = list(data = "respiratory", formula = "outcome ~ center + treat + sex + age + baseline",
                     family = "binomial", id = "person", time = "visit"),
  epilepsy = list(data = "epilepsy", formula = "count ~ after*treated + offset(log(weeks))", family = "poisson",
                  id = "person", time = "visit"),
  cbpp = list(data = "cbpp", formula = "cbind(incidence, size - incidence) ~ period", family = "binomial", id = "herd",
              time = "visit"),
  sleep = list(data = "sleepstudy", formula = "Reaction ~ Days", family = "gaussian", id = "person", time = "Days"),
  weighted = list(data = "sleepstudy", formula = "Reaction ~ Days", family = "gaussian", id = "person", time = "Days",
                  weights = "w")
)
given <- matrix(c(1, .4, .3, .2, .4, 1, .4, .3, .3, .4, 1, .4, .2, .3, .4, 1), 4)

pieces <- function(model) {
  data <- tables[[model$data]]
  if (!is.null(model$kept)) data <- data[data$kept == 1, ]
  family <- do.call(model$family, if (is.null(model$link)) list() else list(link = model$link))
  visits <- match(data[[model$time]], sort(unique(data[[model$time]])))
  list(data = data, family = family, id = data[[model$id]], visits = visits)
}
tight <- geese.control(epsilon = 1e-12, maxit = 500)

by_geepack <- function(model, corr, scale = NULL) {
  part <- pieces(model)
  formula <- as.formula(model$formula)
  clusters <- rle(part$id)$lengths
  call <- list(formula = formula, id = part$id, data = part$data, family = part$family, control = tight)
  if (!is.null(model$weights)) call$weights <- part$data[[model$weights]]
  if (corr == "ar1") call$waves <- part$visits
  if (corr == "unstructured") {
    # geepack reads beyond its matrix where visits are missing; the same correlations as columns of one's own do not.
    call$corstr <- "userdefined"
    full <- max(part$visits)
    columns <- genZcor(clusters, part$visits, 4)
    # genZcor names pairs up to the largest cluster, which has every visit here.
    stopifnot(max(clusters) == full)
    call$zcor <- columns
  } else if (corr == "fixed") {
    call$corstr <- "fixed"
    call$zcor <- fixed2Zcor(given, id = part$id, waves = part$visits)
  } else call$corstr <- corr
  if (is.null(scale)) {
    fit <- do.call(geeglm, call)
    geese <- fit$geese
    qic <- if (is.null(call$zcor)) QIC(fit) else NULL
  } else {
    geese <- do.call(geese, c(call, list(scale.fix = TRUE, gm = scale)))
    qic <- NULL
  }
  stopifnot(geese$error == 0)
  list(beta = unname(geese$beta), robust = geese$vbeta, naive = geese$vbeta.naiv, scale = unname(geese$gamma),
       scale_se = if (is.null(scale)) sqrt(diag(geese$vgamma)) else NULL,
       alpha = if (corr %in% c("independence", "fixed")) numeric() else unname(geese$alpha),
       alpha_se = if (corr %in% c("independence", "fixed")) numeric() else sqrt(diag(geese$valpha)),
       qic = if (is.null(qic)) NULL else as.list(qic[c("QIC", "QICu", "CIC", "Quasi Lik")]))
}

by_gee <- function(model, corr, scale = NULL) {
  part <- pieces(model)
  call <- list(formula = as.formula(model$formula), id = part$id, data = part$data, family = part$family, tol = 1e-13,
               maxiter = 500, corstr = c(independence = "independence", exchangeable = "exchangeable", ar1 = "AR-M",
                                          unstructured = "unstructured", fixed = "fixed")[[corr]])
  if (corr == "ar1") call$Mv <- 1
  if (corr == "fixed") call$R <- given
  if (!is.null(scale)) call <- c(call, list(scale.fix = TRUE, scale.value = scale))
  utils::capture.output(fit <- suppressMessages(do.call(gee, call)))
  stopifnot(fit$error == 0)
  R <- fit$working.correlation
  alpha <- switch(corr, exchangeable = , ar1 = R[1, 2], unstructured = t(R)[lower.tri(R)], numeric())
  list(beta = unname(fit$coefficients), robust = unname(fit$robust.variance), naive = unname(fit$naive.variance),
       scale = fit$scale, alpha = alpha)
}

cases <- list(
  geepack = list(
    ohio = c("independence", "exchangeable", "ar1", "unstructured", "fixed"),
    gaps = c("independence", "exchangeable", "ar1", "unstructured", "fixed"), probit = c("exchangeable", "ar1"),
    respiratory = c("independence", "exchangeable", "ar1", "unstructured"),
    epilepsy = c("independence", "exchangeable", "ar1"),
    cbpp = c("independence", "exchangeable", "ar1", "unstructured"), sleep = c("independence", "exchangeable", "ar1"),
    weighted = c("independence", "exchangeable", "ar1")),
  gee = list(
    ohio = c("independence", "exchangeable", "ar1", "unstructured", "fixed"), gaps = c("independence", "exchangeable"),
    probit = c("exchangeable", "ar1"), respiratory = c("independence", "exchangeable", "ar1", "unstructured"),
    epilepsy = c("independence", "exchangeable", "ar1"), cbpp = c("independence", "exchangeable"),
    sleep = c("independence", "exchangeable", "ar1")))

out <- list(`_note` = paste0(
  "Made by gee.R with R ", getRversion(), ", geepack ", packageVersion("geepack"), ", gee ", packageVersion("gee"), "."),
  models = models, given = given)
for (flavour in names(cases)) for (model in names(cases[[flavour]])) for (corr in cases[[flavour]][[model]]) {
  fit <- if (flavour == "geepack") by_geepack else by_gee
  out[[flavour]][[model]][[corr]] <- fit(models[[model]], corr)
}
out$fixed_scale <- list(geepack = by_geepack(models$epilepsy, "exchangeable", 2),
                        gee = by_gee(models$epilepsy, "exchangeable", 2))

# rows 16 and 17 of the founding documents: clusters are runs, visits the places within them ------------------------

folder <- Sys.getenv("BAYESMLM_DATA")
if (nzchar(folder)) {
  nhanes <- read.csv(file.path(folder, "nhanes_2012.csv"), stringsAsFactors = FALSE)
  nhanes$asthma <- factor(nhanes$asthma, levels = c("No Asthma", "Asthma"))
  nhanes$race <- factor(nhanes$race, levels = c("MexicanAmerican", "OtherHispanic", "White", "Black", "Other"))
  nhanes <- nhanes[complete.cases(nhanes[, c("dep", "famsize", "sed", "race", "asthma")]), ]
  formula <- dep ~ asthma + famsize + sed + race
  utils::capture.output(row_16 <- suppressMessages(
    gee(formula, data = nhanes, id = nhanes$sdmvstra, corstr = "unstructured")))
  row_17 <- geeglm(formula, data = nhanes, id = nhanes$sdmvstra, corstr = "unstructured")
  sorted <- nhanes[order(nhanes$sdmvstra), ]
  strata <- geeglm(formula, data = sorted, id = sorted$sdmvstra, corstr = "exchangeable", control = tight)
  whole <- function(fit) list(beta = unname(fit$geese$beta), se = sqrt(diag(fit$geese$vbeta)),
                              scale = unname(fit$geese$gamma), scale_se = sqrt(diag(fit$geese$vgamma)),
                              alpha = unname(fit$geese$alpha), alpha_se = sqrt(diag(fit$geese$valpha)))
  out$nhanes <- list(
    row_16 = list(beta = unname(row_16$coefficients), naive_se = unname(sqrt(diag(row_16$naive.variance))),
                  robust_se = unname(sqrt(diag(row_16$robust.variance))), scale = row_16$scale),
    row_17 = whole(row_17), strata = whole(strata))
} else out$nhanes <- before$nhanes

write_json(out, target, digits = 15, auto_unbox = TRUE, pretty = TRUE, null = "null")
