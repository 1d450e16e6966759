"""Make posterior.json: long NUTS runs of m_03, m_04 and m_05, by PyMC's own sampler of the compiled ``pm.Model``.

The draws come from ``Model.to_pymc()`` and nutpie's PyMC path, not from the fused kernel, so that the reference is
independent of the code it checks.  Run from the top of the repository:  python -m tests.reference.posterior
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import arviz as az
import numpy as np
import nutpie

import bayesmlm as bm

CHAINS, DRAWS, TUNE, SEED = 4, 25_000, 1_500, 20_240_101


def main() -> None:
    specs = bm.load_specs(Path(__file__).parents[2] / "models" / "contraception.toml")
    result: dict[str, object] = {
        "_note": {
            "software": {name: version(name) for name in ("pymc", "nutpie", "arviz", "numpy")},
            "settings": {"chains": CHAINS, "draws": DRAWS, "tune": TUNE, "seed": SEED},
            "quantities": "posterior mean, sd, 5 % and 95 % quantiles, Monte-Carlo errors of mean and sd, bulk ESS",
        }
    }
    for name in ("m_03", "m_04", "m_05"):
        model = bm.Model(specs[name])
        compiled = nutpie.compile_pymc_model(model.to_pymc())
        tree = nutpie.sample(
            compiled, draws=DRAWS, tune=TUNE, chains=CHAINS, seed=SEED, progress_bar=False, save_warmup=False
        )
        group = model.design.group_labels[0]
        posterior = tree["posterior"]
        draws = {term: posterior["beta"].sel(term=term).to_numpy() for term in model.design.terms}
        draws[f"sd {group}"] = posterior[f"sd_{group}"].to_numpy()[..., 0]
        result[name] = {
            term: {
                "mean": float(x.mean()),
                "sd": float(x.std(ddof=1)),
                "q05": float(np.quantile(x, 0.05)),
                "q95": float(np.quantile(x, 0.95)),
                "mcse_mean": float(az.mcse(x, method="mean")),
                "mcse_sd": float(az.mcse(x, method="sd")),
                "ess_bulk": float(az.ess(x, method="bulk")),
                "rhat": float(az.rhat(x)),
            }
            for term, x in draws.items()
        }
        print(name, {term: round(entry["ess_bulk"]) for term, entry in result[name].items()}, flush=True)  # type: ignore[attr-defined]
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
