# F tests of several fixed effects at once with Satterthwaite's denominator degrees of freedom, by lmerTest: contestMD()
# of given hypotheses, and drop1() of every marginal term.  Written to ftests.json beside this script.
#
#   Rscript tests/reference/ftests.R
#
# Needs lme4, lmerTest and jsonlite.  Data are csv files of the package and of this folder.

suppressPackageStartupMessages({
  library(lme4)
  library(lmerTest)
  library(jsonlite)
})

script <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
here <- if (length(script)) dirname(normalizePath(script)) else getwd()
package_table <- function(name) {
  read.csv(file.path(here, "..", "..", "bayesmlm", "datasets", paste0(name, ".csv")), stringsAsFactors = FALSE)
}
exam <- within(package_table("exam"), {
  school <- factor(school, levels = unique(school))
  sex <- factor(sex, levels = c("F", "M"))
  schgend <- factor(schgend, levels = c("mixed", "boys", "girls"))
  vr <- factor(vr, levels = c("bottom 25%", "mid 50%", "top 25%"))
})
sleepstudy <- within(package_table("sleepstudy"), {
  Subject <- factor(Subject, levels = unique(Subject))
  w <- rep_len(c(1, 2, 0.5), length(Subject))
})
pastes <- read.csv(file.path(here, "pastes.csv"), colClasses = c(batch = "character", cask = "character"))
# The first batches without their last cask: degrees of freedom that are not whole numbers.  With a second term, because
# drop1() writes the hypothesis on a term that stands alone in other rows, which have other degrees of freedom.
pastes$turn <- rep_len(c("x", "y"), nrow(pastes))
pastes_cut <- pastes[!(pastes$cask == "c" & pastes$batch %in% c("A", "B", "C")), ]

# BOBYQA run on until nothing moves: the optimum, not where the default tolerance stops.
exact <- lmerControl(optimizer = "nloptwrap", optCtrl = list(
  xtol_rel = 1e-12, xtol_abs = 1e-12, ftol_rel = 1e-15, ftol_abs = 1e-14, maxeval = 100000
))
plain <- function(table) list(f = table[["F value"]], df = table[["NumDF"]], df_denom = table[["DenDF"]],
                              p = table[["Pr(>F)"]])

# hypotheses: rows of L by the names of the coefficients, and right sides.
contests <- function(data, formula, hypotheses, reml = TRUE, weights = NULL) {
  table <- get(data)
  table$.w <- if (is.null(weights)) 1 else table[[weights]]
  model <- suppressWarnings(eval(bquote(
    lmerTest::lmer(.(formula), data = table, REML = reml, weights = .w, control = exact)
  )))
  terms <- names(fixef(model))
  joint <- lapply(hypotheses, function(h) {
    L <- do.call(rbind, lapply(h$rows, function(row) {
      out <- setNames(numeric(length(terms)), terms)
      out[names(row)] <- row
      out
    }))
    right <- if (is.null(h$right)) 0 else h$right
    c(list(text = h$text), plain(contestMD(model, L, rhs = right, ddf = "Satterthwaite")))
  })
  dropped <- drop1(model, ddf = "Satterthwaite")
  list(data = data, formula = paste(deparse(formula, width.cutoff = 500), collapse = ""), reml = reml,
       weights = weights, joint = unname(joint), dropped = c(list(term = I(rownames(dropped))), lapply(plain(dropped), I)))
}

sleep_joint <- list(
  list(text = c("Intercept = 250", "Days = 10"), rows = list(c("(Intercept)" = 1), c(Days = 1)), right = c(250, 10)),
  list(text = c("Intercept + 2*Days = 0", "Days = 0"), rows = list(c("(Intercept)" = 1, Days = 2), c(Days = 1)))
)
cask_joint <- list(
  list(text = c("cask[b] = 0", "cask[c] = 0"), rows = list(c(caskb = 1), c(caskc = 1))),
  list(text = c("cask[b] = cask[c]", "cask[b] + cask[c] = 1"),
       rows = list(c(caskb = 1, caskc = -1), c(caskb = 1, caskc = 1)), right = c(0, 1)),
  list(text = c("cask[b] = 0", "cask[c] = 0", "cask[b] = cask[c]"),
       rows = list(c(caskb = 1), c(caskc = 1), c(caskb = 1, caskc = -1)))
)
exam_joint <- list(
  list(text = c("schgend[boys] = 0", "schgend[girls] = 0", "sex[M] = 0"),
       rows = list(c(schgendboys = 1), c(schgendgirls = 1), c(sexM = 1))),
  list(text = c("schgend[boys] = schgend[girls]", "standLRT = 0.5"),
       rows = list(c(schgendboys = 1, schgendgirls = -1), c(standLRT = 1)), right = c(0, 0.5))
)

out <- list(
  `_note` = list(
    software = list(R = R.version.string, lme4 = packageDescription("lme4")$Version,
                    lmerTest = packageDescription("lmerTest")$Version),
    script = "ftests.R", optimum = "nloptwrap, xtol 1e-12 and ftol 1e-15"
  ),
  sleep = contests("sleepstudy", Reaction ~ Days + (Days | Subject), sleep_joint),
  sleep_ml = contests("sleepstudy", Reaction ~ Days + (Days | Subject), sleep_joint, reml = FALSE),
  sleep_weights = contests("sleepstudy", Reaction ~ Days + (1 | Subject), sleep_joint, weights = "w"),
  pastes = contests("pastes", strength ~ cask + (1 | batch), cask_joint),
  pastes_cut = contests("pastes_cut", strength ~ cask + turn + (1 | batch), cask_joint),
  exam = contests("exam", normexam ~ standLRT + sex + schgend + (1 + standLRT | school), exam_joint),
  exam_products = contests("exam", normexam ~ standLRT * sex + vr + schgend + (1 | school), list())
)
writeLines(toJSON(out, digits = NA, auto_unbox = TRUE, null = "null", pretty = TRUE), file.path(here, "ftests.json"))
