# What surrounds an estimate, in lme4: the request comes in as fields (read.dcf), processor times and numbers go out as
# tab-separated lines.
request <- read.dcf(file("stdin"))[1, ]
suppressPackageStartupMessages(library(lme4))
factors <- strsplit(request[["factors"]], " ")[[1]]
read <- function(path) read.csv(path, colClasses = setNames(rep("factor", length(factors)), factors))
d <- read(request[["path"]])
new <- read(request[["rows"]])
repeats <- as.integer(request[["repeats"]])
m <- suppressMessages(suppressWarnings(glmer(as.formula(request[["formula"]]), d, family = binomial)))

say <- function(...) cat(paste(c(...), collapse = "\t"), "\n", sep = "")
quietly <- function(work) suppressMessages(suppressWarnings(work()))
# Once before the clock starts where it is short; one call alone of what takes long.
timed <- function(name, work, calls = repeats) {
    if (calls > 1) quietly(work)
    say("seconds", name, replicate(calls, sum(system.time(quietly(work))[c("user.self", "sys.self")])))
}

say("version", paste(packageVersion("lme4"), "on", R.version.string))
timed("typical", function() typical <<- predict(m, new, re.form = NA, type = "response"))
timed("conditional", function() conditional <<- predict(m, new, type = "response"))
timed("simulate", function() simulate(m, nsim = 1000, seed = 1))
if (requireNamespace("performance", quietly = TRUE)) {
    timed("r2", function() r2 <<- performance::r2_nakagawa(m))
    say("r2", sprintf("%.10g", c(r2$R2_marginal, r2$R2_conditional)))
}
timed("bootstrap", function() bootMer(m, function(f) c(fixef(f), getME(f, "theta")), 100, seed = 1), 1)
timed("profile", function() limits <<- confint(m, method = "profile", oldNames = FALSE, quiet = TRUE), 1)
say("typical", sprintf("%.10g", head(typical, 1000)))
say("conditional", sprintf("%.10g", head(conditional, 1000)))
say("names", rownames(limits))
say("low", sprintf("%.10g", limits[, 1]))
say("high", sprintf("%.10g", limits[, 2]))
