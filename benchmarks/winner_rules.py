"""Which rule for the winner gains most on test: stored searches, their rows drawn again, and simulated searches.

    python benchmarks/winner_rules.py TABLE [TABLE ...] [--searches 4000] [--json FILE]

A TABLE is a file of corpus.py. Three tables come of it, each with the mean test gain over the seed of what a rule
returns, and with the share of searches in which that is truly worse than the seed by more than 0.02:

- stored: each search as it was, chosen by its dev rows.
- resampled: the dev rows are drawn from the test rows of the seed and the finalists, and the rest of these is test. So
  nobody chose the finalists by these rows.
- simulated: tasks and finalists drawn from the tables, rows simulated. A row has a difficulty that all prompts share,
  and each prompt a part of its own; the share of the former is such that prompts differ on as many rows as in the
  tables. A score differs on measuring again in 2.5 % of the rows, as in the runs of the tables, and the noise floor is
  measured on the best two and the seed, as a run does.

No true gain is known, but 100 to 300 test rows leave little open: a true gain has the posterior that its test rows
leave of a normal prior, which is fitted to all finalists of the tables by moments. Losses are counted with it, so that
a rule is not charged for the noise of the test, and the gains that are simulated are drawn from it. What is simulated
otherwise: candidates that a race on a third of the rows has chosen, and gains that are lower or smaller.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

LOSS = 0.02
N_DEV = (20, 30, 60, 100, 300)
N_RESAMPLED = (20, 30, 60)
N_OTHERS = (2, 4, 8)
"""Finalists beside the seed in a simulated search, equally often."""
N_MORE = (20, 40, 60, 100)
"""Rows beside dev on which the seed and the best of the others are measured, where a rule asks for more evidence."""
N_KEPT = 3
CHANGES = 0.025
"""Share of scores that differ on measuring again: 74 of 3,060 in the runs of the tables."""
_ROUNDING = 1e-9
_BATCH = 200

_erf = np.vectorize(math.erf)


def normal_cdf(values: Values) -> Values:
    """Return the standard normal distribution function."""
    found: Values = 0.5 * (1 + _erf(values / math.sqrt(2)))
    return found


@dataclass(frozen=True)
class Evidence:
    """What searches know when they choose. The first prompt of each is the seed."""

    scores: Values
    """Searches x prompts x rows."""
    floor: Values
    """The noise floor of each search."""
    sizes: Values
    """Searches x prompts: lengths."""
    prior: tuple[float, float]
    """Mean and standard deviation of true gains, for the rules that use it."""
    more: Values | None = None
    """Searches x prompts x rows that the search did not use."""

    @property
    def gains(self) -> Values:
        """Mean paired gains over the seed, searches x prompts; 0 of the seed."""
        found: Values = (self.scores - self.scores[:, :1]).mean(axis=2)
        return found

    @property
    def errors(self) -> Values:
        """Standard errors of the gains."""
        return _errors(self.scores - self.scores[:, :1])


Rule = Callable[[Evidence], Places]


def _errors(differences: Values) -> Values:
    n = differences.shape[2]
    found: Values = differences.std(axis=2, ddof=1) / math.sqrt(n)
    return found


def most(evidence: Evidence) -> Places:
    """Return the prompt with the highest dev mean, of equals the seed, then the shortest."""
    return _shortest(evidence, evidence.gains >= evidence.gains.max(axis=1, keepdims=True) - _ROUNDING)


def ahead(z: float, within: float | None = 0.0, *, floor: bool = False) -> Rule:
    """Return the rule: who is ahead by `z` standard errors, then the shortest `within` errors of their best.

    With `floor` being ahead also takes more than the noise floor; without a number `within` is the noise floor.
    """

    def choose(evidence: Evidence) -> Places:
        gains, least = evidence.gains, z * evidence.errors
        if floor:
            least = np.maximum(least, evidence.floor[:, None])
        is_ahead = gains > least + _ROUNDING
        is_ahead[:, 0] = False
        best = np.where(is_ahead, gains, -np.inf).argmax(axis=1)
        of_best = np.take_along_axis(evidence.scores, best[:, None, None], axis=1)
        behind = (of_best - evidence.scores).mean(axis=2)
        allowed = evidence.floor[:, None] if within is None else within * _errors(of_best - evidence.scores)
        chosen = _shortest(evidence, is_ahead & (behind <= allowed + _ROUNDING))
        return np.where(is_ahead.any(axis=1), chosen, 0)

    return choose


def posterior(risk: float, *, own: bool = False) -> Rule:
    """Return the rule: highest posterior mean, where the risk that it loses more than 0.02 is at most `risk`.

    The prior of the gains is that of the tables; with `own` its mean is 0 and its variance is fitted to the finalists
    of the search itself (empirical Bayes, as James and Stein 1961 shrink).
    """

    def choose(evidence: Evidence) -> Places:
        gains, noise = evidence.gains, evidence.errors**2
        mean, variance = evidence.prior[0], np.full((len(gains), 1), evidence.prior[1] ** 2)
        if own:
            mean = 0.0
            variance = (gains[:, 1:] ** 2 - noise[:, 1:]).mean(axis=1, keepdims=True).clip(min=0.0)
        share = variance / np.maximum(variance + noise, _ROUNDING)
        expected = mean + share * (gains - mean)
        spread = np.sqrt(np.maximum(share * noise, _ROUNDING))
        is_allowed = (normal_cdf((-LOSS - expected) / spread) <= risk) & (expected > _ROUNDING)
        is_allowed[:, 0] = False
        best = np.where(is_allowed, expected, -np.inf).argmax(axis=1)
        return np.where(is_allowed.any(axis=1), best, 0)

    return choose


def with_more(rule: Rule, n: int, behind: float = math.inf) -> Rule:
    """Return the rule applied to the seed and the best three others, measured on `n` rows more.

    Others that are more than `behind` standard errors behind the seed on dev take no part.
    """

    def choose(evidence: Evidence) -> Places:
        assert evidence.more is not None
        others = 1 + np.argsort(-evidence.gains[:, 1:], axis=1, kind="stable")[:, :N_KEPT]
        kept = np.concatenate((np.zeros((len(others), 1), dtype=np.int64), others), axis=1)
        rows = np.concatenate((evidence.scores, evidence.more[:, :, :n]), axis=2)
        scores = np.take_along_axis(rows, kept[:, :, None], axis=1)
        if behind < math.inf:
            is_far = evidence.gains < -behind * evidence.errors - _ROUNDING
            is_out = np.take_along_axis(is_far, kept, axis=1)
            scores = np.where(is_out[:, :, None], -1.0, scores)
        fewer = replace(evidence, scores=scores, sizes=np.take_along_axis(evidence.sizes, kept, axis=1))
        found: Places = np.take_along_axis(kept, rule(fewer)[:, None], axis=1)[:, 0]
        return found

    return choose


def _shortest(evidence: Evidence, which: npt.NDArray[np.bool_]) -> Places:
    """Return the shortest of those prompts, of equals the first; the seed where it is among them."""
    found = np.where(which, evidence.sizes, np.inf).argmin(axis=1)
    return np.where(which[:, 0], 0, found)


RULES: Mapping[str, Rule] = {
    "floor and 1 error, then shortest within the floor": ahead(1, None, floor=True),
    "floor and 1 error, then the best": ahead(1, floor=True),
    "floor, then shortest within the floor": ahead(0, None, floor=True),
    "highest on dev": most,
    **{
        f"{z:g} errors, then {what}": ahead(z, within)
        for z in (0.5, 0.75, 1, 1.5)
        for within, what in ((0, "the best"), (0.5, "shortest within 0.5"), (1, "shortest within 1"))
    },
    **{f"posterior of the tables, risk {risk:g}": posterior(risk) for risk in (0.5, 0.2, 0.1)},
    **{f"posterior of its own, risk {risk:g}": posterior(risk, own=True) for risk in (0.5, 0.2, 0.1)},
}
MORE: Mapping[str, Rule] = {
    **{
        f"{name}, {n} rows more": with_more(RULES[name], n)
        for n in N_MORE
        for name in ("highest on dev", "0.5 errors, then the best", "1 errors, then the best")
    },
    **{
        f"1 errors, then the best, 60 rows more of who is at most {behind:g} errors behind": with_more(
            RULES["1 errors, then the best"], 60, behind
        )
        for behind in (0, 1)
    },
}


@dataclass(frozen=True)
class Found:
    """One stored search: 0 and 1, prompts x rows, the seed first."""

    name: str
    dev: Values
    test: Values
    sizes: Values
    floor: float


def searches_of(table: Mapping[str, Any], name: str) -> list[Found]:
    """Return the searches of a table that had anything to choose from."""
    found = []
    for key, search in table["searches"].items():
        test, prompts = table["test"][key.split()[0]]["scores"], search["prompts"]
        if len(prompts) < 2 or prompts[0]["op"] != "seed":
            continue
        found.append(
            Found(
                f"{name} {key}",
                np.array([[float(digit) for digit in each["dev"]] for each in prompts]),
                np.array([[float(digit) for digit in test[each["id"]]] for each in prompts]),
                np.array([float(len(each["text"])) for each in prompts]),
                search["noise"] or 0.0,
            )
        )
    return found


def prior_of(found: Sequence[Found]) -> tuple[float, float]:
    """Return mean and standard deviation of the true gains of finalists, by moments: what test noise leaves."""
    gains = np.concatenate([(each.test[1:] - each.test[:1]).mean(axis=1) for each in found])
    noise = np.concatenate([_errors((each.test - each.test[:1])[None])[0, 1:] for each in found])
    return float(gains.mean()), math.sqrt(max(float(gains.var(ddof=1) - (noise**2).mean()), 1e-6))


def posterior_of(test: Values, prior: tuple[float, float]) -> tuple[Values, Values]:
    """Return mean and standard deviation of the true gains that test rows leave, prompts x rows; 0 of the seed."""
    differences = test - test[:1]
    gains, noise = differences.mean(axis=1), _errors(differences[None])[0] ** 2
    # Prompts that differ on no row are not known to be equal: as if they differed on one row more.
    noise = np.maximum(noise, 1 / test.shape[1] ** 2)
    share = prior[1] ** 2 / (prior[1] ** 2 + noise)
    mean, spread = prior[0] + share * (gains - prior[0]), np.sqrt(share * noise)
    mean[0] = spread[0] = 0.0
    return mean, spread


def lost(mean: Values, spread: Values) -> Values:
    """Return the probability that a gain with this posterior is a loss of more than 0.02."""
    return normal_cdf((-LOSS - mean) / np.maximum(spread, _ROUNDING))


def shared_difficulty(found: Sequence[Found]) -> float:
    """Return the share of the latent variance that is a row's: with it prompts differ on as many rows as here."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    pairs = [(each.test[0], other) for each in found for other in each.test[1:]]
    differ = np.array([(one != other).mean() for one, other in pairs])
    rights = np.clip(np.array([(one.mean(), other.mean()) for one, other in pairs]), 0.01, 0.99)

    def expected(share: float) -> float:
        at = (_quantile(rights)[:, :, None] - math.sqrt(share) * nodes) / math.sqrt(1 - share)
        right = normal_cdf(at)
        both = (right[:, 0] * right[:, 1] * weights).sum(axis=1)
        return float((rights.sum(axis=1) - 2 * both).mean())

    low, high = 0.0, 0.999
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if expected(middle) > differ.mean() else (low, middle)
    return low


def _quantile(shares: Values) -> Values:
    """Return the standard normal quantiles, by bisection."""
    low, high = np.full(shares.shape, -8.0), np.full(shares.shape, 8.0)
    for _ in range(50):
        middle = (low + high) / 2
        is_low = normal_cdf(middle) < shares
        low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
    return low


@dataclass(frozen=True)
class World:
    """How searches are simulated."""

    found: Sequence[Found]
    prior: tuple[float, float]
    difficulty: float
    raced: bool = False
    """Three times as many candidates, the best on a third of the rows become finalists."""
    shift: float = 0.0
    """Added to every true gain."""
    scale: float = 1.0
    """True gains are multiplied by it."""

    def search(self, n: int, n_others: int, n_searches: int, rng: np.random.Generator) -> tuple[Evidence, Values]:
        """Return what simulated searches know from `n` rows, and the true gains of their prompts."""
        n_drawn = n_others * (3 if self.raced else 1)
        rights = np.stack([self._rights(n_drawn, rng) for _ in range(n_searches)])
        scores = self._scores(rights, n + max(N_MORE), rng)
        if self.raced:
            first = scores[:, 1:, : max(n // 3, 2)].mean(axis=2)
            best = 1 + np.argsort(-first, axis=1, kind="stable")[:, :n_others]
            kept = np.concatenate((np.zeros((n_searches, 1), dtype=np.int64), best), axis=1)
            rights = np.take_along_axis(rights, kept, axis=1)
            scores = np.take_along_axis(scores, kept[:, :, None], axis=1)
        on_dev = scores[:, :, :n]
        floor = measured_floor(on_dev, rng)
        evidence = Evidence(on_dev, floor, rng.random(rights.shape), self.prior, scores[:, :, n:])
        return evidence, rights - rights[:, :1]

    def _rights(self, n: int, rng: np.random.Generator) -> Values:
        """Return the true scores of a seed and `n` others, all of one task."""
        one = self.found[int(rng.integers(len(self.found)))]
        same = [each for each in self.found if each.name.split()[:2] == one.name.split()[:2]]
        gains = []
        for _ in range(n):
            mean, spread = posterior_of(same[int(rng.integers(len(same)))].test, self.prior)
            which = rng.integers(1, len(mean))
            gains.append(self.scale * rng.normal(mean[which], spread[which]) + self.shift)
        seed = one.test[0].mean()
        found: Values = np.clip(np.array([seed, *(seed + gain for gain in gains)]), 0.01, 0.99)
        return found

    def _scores(self, rights: Values, n: int, rng: np.random.Generator) -> Values:
        of_rows = rng.normal(size=(len(rights), 1, n))
        own = rng.normal(size=(*rights.shape, n))
        latent = math.sqrt(self.difficulty) * of_rows + math.sqrt(1 - self.difficulty) * own
        return changed(latent < _quantile(rights)[:, :, None], rng)


def changed(scores: npt.NDArray[Any], rng: np.random.Generator) -> Values:
    """Return the scores as one measurement gives them: two measurements differ in 2.5 % of them."""
    flips = rng.random(scores.shape) < CHANGES / 2
    found: Values = np.where(flips, 1.0 - scores, scores).astype(np.float64)
    return found


def measured_floor(scores: Values, rng: np.random.Generator) -> Values:
    """Return the largest change of a mean of the best two and the seed on measuring again."""
    order = 1 + np.argsort(-scores[:, 1:].mean(axis=2), axis=1, kind="stable")[:, :2]
    which = np.concatenate((np.zeros((len(scores), 1), dtype=np.int64), order), axis=1)
    before = np.take_along_axis(scores, which[:, :, None], axis=1)
    flips = rng.random(before.shape) < CHANGES
    change = np.where(flips, 1.0 - 2 * before, 0.0).mean(axis=2)
    found: Values = np.abs(change).max(axis=1)
    return found


@dataclass
class Tally:
    """Gains and losses of what a rule returned, one a search."""

    gains: list[float]
    losses: list[float]

    def row(self) -> dict[str, float]:
        """Return the means with what 1.96 standard errors over these searches add."""
        gains, losses = np.array(self.gains), np.array(self.losses)
        n = len(gains)
        error, of_losses = (float(1.96 * each.std() / math.sqrt(n)) for each in (gains, losses))
        return {
            "gain": round(float(gains.mean()), 4),
            "gain_error": round(error, 4),
            "lost": round(float(losses.mean()), 4),
            "lost_error": round(of_losses, 4),
            "kept_seed": round(float((gains == 0).mean()), 3),
            "searches": n,
        }


def tallied(rules: Mapping[str, Rule]) -> dict[str, Tally]:
    """Return an empty tally of each rule, and of the best that could be chosen."""
    return {name: Tally([], []) for name in (*rules, "the truly best")}


def stored(found: Sequence[Found], prior: tuple[float, float]) -> dict[str, Tally]:
    """Return what each rule returns of the searches as they were; gains as test measured them."""
    tallies = tallied(RULES)
    for each in found:
        evidence = Evidence(each.dev[None], np.array([each.floor]), each.sizes[None], prior)
        _add(tallies, RULES, evidence, (each.test - each.test[:1]).mean(axis=1), lost(*posterior_of(each.test, prior)))
    return tallies


def resampled(
    found: Sequence[Found], prior: tuple[float, float], n: int, times: int, rng: np.random.Generator
) -> dict[str, Tally]:
    """Return the same with `n` test rows as dev, drawn anew so many times, and the rest as test.

    The noise floor is that of the search, larger or smaller as a mean over so many rows varies.
    """
    tallies = tallied(RULES)
    for each in found:
        for _ in range(times):
            order = rng.permutation(each.test.shape[1])
            dev, test = each.test[:, order[:n]], each.test[:, order[n:]]
            floor = each.floor * math.sqrt(each.dev.shape[1] / n)
            evidence = Evidence(dev[None], np.array([floor]), each.sizes[None], prior)
            _add(tallies, RULES, evidence, (test - test[:1]).mean(axis=1), lost(*posterior_of(test, prior)))
    return tallies


def _add(
    tallies: dict[str, Tally], rules: Mapping[str, Rule], evidence: Evidence, gains: Values, losses: Values
) -> None:
    chosen = {name: int(rule(evidence)[0]) for name, rule in rules.items()}
    for name, which in (*chosen.items(), ("the truly best", int(gains.argmax()))):
        tallies[name].gains.append(float(gains[which]))
        tallies[name].losses.append(float(losses[which]))


def simulated(world: World, n: int, n_searches: int, rng: np.random.Generator) -> dict[str, Tally]:
    """Return what each rule returns of searches simulated with `n` dev rows; gains and losses are the true ones."""
    rules = {**RULES, **MORE}
    tallies = tallied(rules)
    for n_others in N_OTHERS:
        for start in range(0, n_searches // len(N_OTHERS), _BATCH):
            size = min(_BATCH, n_searches // len(N_OTHERS) - start)
            evidence, gains = world.search(n, n_others, size, rng)
            chosen = {name: rule(evidence) for name, rule in rules.items()}
            for name, which in (*chosen.items(), ("the truly best", gains.argmax(axis=1))):
                got = np.take_along_axis(gains, which[:, None], axis=1)[:, 0]
                tallies[name].gains.extend(got.tolist())
                tallies[name].losses.extend((got < -LOSS).astype(float).tolist())
    return tallies


def told(title: str, tallies: Mapping[str, Tally]) -> dict[str, dict[str, float]]:
    """Print a table and return it as plain data."""
    rows = {name: tally.row() for name, tally in tallies.items()}
    print(f"\n{title}\n{'rule':78} {'gain':>17} {'lost > 0.02':>17}  seed kept")
    for name, row in rows.items():
        gain, loss = f"{row['gain']:+.4f} +- {row['gain_error']:.4f}", f"{row['lost']:.3f} +- {row['lost_error']:.3f}"
        print(f"{name:78} {gain:>17} {loss:>17}  {row['kept_seed']:.2f}", flush=True)
    return rows


def main() -> None:
    """Compare the rules."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--searches", type=int, default=12_000, help="simulated for each number of dev rows")
    parser.add_argument("--times", type=int, default=200, help="that the rows of a search are drawn again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    tables = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in options.tables}
    found = [each for name, table in tables.items() for each in searches_of(table, name)]
    prior, difficulty = prior_of(found), shared_difficulty(found)
    print(f"{len(found)} searches; true gains {prior[0]:+.3f}, deviation {prior[1]:.3f}; difficulty {difficulty:.2f}")
    results: dict[str, Any] = {"searches": len(found), "prior": prior, "difficulty": difficulty}
    results["stored"] = told("stored", stored(found, prior))
    for n in N_RESAMPLED:
        results[f"resampled {n}"] = told(f"resampled, {n} rows", resampled(found, prior, n, options.times, rng))
    plain = World(found, prior, difficulty)
    worlds = {
        "": plain,
        "raced": replace(plain, raced=True),
        "gains 0.05 lower": replace(plain, shift=-0.05),
        "half the gains": replace(plain, scale=0.5),
        "raced, gains 0.05 lower": replace(plain, raced=True, shift=-0.05),
    }
    for what, world in worlds.items():
        for n in N_DEV if world is plain else (20, 60):
            title = f"simulated {n}" + (f", {what}" if what else "")
            results[title] = told(title, simulated(world, n, options.searches, rng))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
