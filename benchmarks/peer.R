# One model in R: the request comes in as fields (read.dcf), times and estimates go out as tab-separated lines.
request <- read.dcf(file("stdin"))[1, ]
suppressPackageStartupMessages(library(request[["package"]], character.only = TRUE))
factors <- strsplit(request[["factors"]], " ")[[1]]
d <- read.csv(request[["path"]], colClasses = setNames(rep("factor", length(factors)), factors))
f <- as.formula(request[["formula"]])
linear <- request[["family"]] == "gaussian"
points <- as.integer(request[["n_agq"]])
repeats <- as.integer(request[["repeats"]])
budget <- as.numeric(request[["budget"]])

fit <- function() suppressMessages(suppressWarnings(
    if (request[["package"]] == "glmmTMB") {
        glmmTMB(f, d, family = if (linear) gaussian() else binomial(), REML = linear)
    } else if (linear) {
        lmer(f, d)
    } else {
        glmer(f, d, family = binomial, nAGQ = points)
    }
))

seconds <- numeric(0)
repeat {
    seconds <- c(seconds, system.time(m <- fit())[["elapsed"]])
    # The first call of a short model also pays for loading: it is left out below.
    if (length(seconds) > repeats || sum(seconds) > budget) break
}
if (length(seconds) > 1) seconds <- seconds[-1]

beta <- if (request[["package"]] == "glmmTMB") fixef(m)$cond else fixef(m)
V <- if (request[["package"]] == "glmmTMB") vcov(m)$cond else as.matrix(vcov(m))
say <- function(key, values) cat(paste(c(key, values), collapse = "\t"), "\n", sep = "")
say("seconds", seconds)
say("version", paste(packageVersion(request[["package"]]), "on", R.version.string))
say("loglik", sprintf("%.10g", as.numeric(logLik(m))))
say("names", names(beta))
say("coef", sprintf("%.10g", beta))
say("se", sprintf("%.10g", sqrt(diag(V))))
