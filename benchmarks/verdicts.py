"""How often verdicts are right: simulated matchups of known strength, with and without correlation inside pairs.

    .venv/bin/python benchmarks/verdicts.py [--matchups 20000] [--seed 1] [--pool RUN.json]

The last part, on luck, is not simulated: it draws pairs from a pool of real battles, `typed` against `heuristic`, with
the luck of each. It plays them (400, ten minutes of CPU) or reads them from a run file.

Everything measured is the code that the arena and the reporter run. Correlation is that of p1's scores in the two
battles of a pair: -0.3 is what `heuristic` against a slightly worse `heuristic` showed on the real simulator (58 to 42,
300 pairs; docs/verdicts.md), 0 is what pairs without any common luck would show, and +0.3 is what exchanging the
policies should never give. The last line is JSON.
"""

import json
from argparse import ArgumentParser
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from services.arena.matchups import MatchupWork
from services.reporter.verdict import battles_needed
from shared.jobs.inline import Inline
from shared.matchups import Matchups
from shared.records import NewMatchup, read_run
from shared.settings import Settings
from shared.store import Store
from shared.verdicts.intervals import observations, pair_interval, standard_error, t_quantile
from shared.verdicts.ratings import Meeting, rate
from shared.verdicts.scores import Floats, Played, Scores
from shared.verdicts.sequential import (
    SHARES_WITHOUT_LUCK,
    Decided,
    LikelihoodBounds,
    decide,
    log_likelihood_ratios,
    look_ranges,
    mean_log_likelihood_ratios,
    mean_score,
)
from shared.work import ask

CORRELATIONS = (0.0, -0.3, 0.3)
MEASURED_CORRELATION = -0.3
ERROR = 0.05
MAX_BATTLES = 1_000
POOL_BATTLES, POOL_SEED = 400, 9001
LUCK_MATCHUPS = 4_000
"""Whole matchups lie in memory there."""
STRENGTHS = {"heuristic": 1000.0, "a": 1120.0, "b": 900.0, "c": 760.0, "d": 700.0}
_UNDECIDED = list(Decided).index(Decided.UNDECIDED)


@dataclass(frozen=True, slots=True)
class Tested:
    """What the sequential test said of many matchups of one kind."""

    shares: dict[Decided, float]
    mean_battles: float

    def wrong(self, truth: float, margin: float) -> float:
        """The share of wrong verdicts. Undecided is none: it is what the test says at the maximum."""
        closer = self.shares[Decided.CLOSER] if abs(truth - 0.5) >= margin - 1e-9 else 0.0
        p1 = self.shares[Decided.P1_STRONGER] if truth <= 0.5 else 0.0
        p2 = self.shares[Decided.P2_STRONGER] if truth >= 0.5 else 0.0
        return closer + p1 + p2


def pair_distribution(win_rate: float, correlation: float) -> Floats:
    """Probabilities of the five scores of a pair, for battles without draws."""
    p, q = win_rate, 1 - win_rate
    common = max(correlation, -min(p, q) / max(p, q)) * p * q
    return np.array([q * q + common, 0, 2 * (p * q - common), 0, p * p + common])


def coverage(win_rate: float, correlation: float, pairs: int, matchups: int, rng: np.random.Generator) -> float:
    """How often the interval contains the true win rate."""
    counts = rng.multinomial(pairs, pair_distribution(win_rate, correlation), size=matchups)
    low, high, _ = pair_interval(counts, np.zeros((matchups, 3)))
    return float(((low <= win_rate) & (win_rate <= high)).mean())


def tested(
    win_rate: float, correlation: float, margin: float, most: int, matchups: int, rng: np.random.Generator
) -> Tested:
    """Play many matchups until decided, looking where the arena looks."""
    distribution, bounds = pair_distribution(win_rate, correlation), LikelihoodBounds.of(ERROR)
    verdicts, battles = np.full(matchups, _UNDECIDED), np.full(matchups, most)
    going, counts = np.arange(matchups), np.zeros((matchups, 5))
    for shard in look_ranges(most, pairs=True):
        counts = counts + rng.multinomial(len(shard) // 2, distribution, size=len(going))
        found = decide(mean_score(counts), *log_likelihood_ratios(counts, margin), bounds)
        ended = found != _UNDECIDED
        verdicts[going[ended]], battles[going[ended]] = found[ended], shard.stop
        going, counts = going[~ended], counts[~ended]
        if not len(going):
            break
    shares = {decided: float((verdicts == index).mean()) for index, decided in enumerate(Decided)}
    return Tested(shares, float(battles.mean()))


def intervals(matchups: int, rng: np.random.Generator) -> float:
    """Print coverage by length and strength; the mean over all."""
    strengths = (0.5, 0.6, 0.75, 0.9)
    print("How often the 95 % interval contains the true win rate")
    print("pairs  correlation  " + "  ".join(f"at {strength:.2f}" for strength in strengths))
    every = []
    for pairs in (10, 20, 50, 100, 250):
        for correlation in CORRELATIONS:
            row = [coverage(strength, correlation, pairs, matchups, rng) for strength in strengths]
            every += row
            print(f"{pairs:>5}  {correlation:>+11.1f}  " + "  ".join(f"{covered:7.3f}" for covered in row))
    print(f"mean {np.mean(every):.4f}, from {min(every):.3f} to {max(every):.3f}\n", flush=True)
    return float(np.mean(every))


def sequential_tests(matchups: int, rng: np.random.Generator) -> float:
    """Print what the sequential test says of even matchups, and of such at the margin; the worst share of errors."""
    print(f"The sequential test, error {ERROR:.0%}, at most {MAX_BATTLES:,} battles, {matchups:,} matchups a line")
    print("margin  correlation  truth  p1 stronger  p2 stronger  closer  undecided   wrong  mean battles")
    worst = 0.0
    for margin in (0.1, 0.15):
        for correlation in CORRELATIONS:
            for truth in (0.5, 0.5 + margin):
                result = tested(truth, correlation, margin, MAX_BATTLES, matchups, rng)
                wrong = result.wrong(truth, margin)
                worst = max(worst, wrong)
                shares = "  ".join(
                    f"{result.shares[kind]:{width}.3f}" for kind, width in zip(Decided, (11, 11, 6, 9), strict=True)
                )
                what = f"{margin:6.2f}  {correlation:>+11.1f}  {truth:5.2f}"
                print(f"{what}  {shares}  {wrong:6.4f}  {result.mean_battles:12.1f}", flush=True)
    print(f"worst {worst:.4f}\n")
    return worst


def battles_to_decide(matchups: int, fixed: int, rng: np.random.Generator) -> float:
    """Print what deciding 60 % costs; the mean with pairs as measured and no more battles than the fixed test."""
    print(f"Battles of a 60 to 40 matchup, margin 0.1; a fixed test takes {fixed} and then shows it 4 times in 5")
    print("correlation  at most  mean battles  p1 stronger  undecided")
    answer = 0.0
    for correlation in (0.0, MEASURED_CORRELATION):
        for most in (fixed, MAX_BATTLES):
            result = tested(0.6, correlation, 0.1, most, matchups, rng)
            shares = f"{result.shares[Decided.P1_STRONGER]:11.3f}  {result.shares[Decided.UNDECIDED]:9.3f}"
            print(f"{correlation:>+11.1f}  {most:>7}  {result.mean_battles:12.1f}  {shares}", flush=True)
            if (correlation, most) == (MEASURED_CORRELATION, fixed):
                answer = result.mean_battles
    print()
    return answer


def ratings(tournaments: int, rng: np.random.Generator) -> None:
    """Print how often the intervals of ratings contain the true ones, and how often the ranks are no lie."""
    by_strength = sorted(STRENGTHS, key=lambda name: -STRENGTHS[name])
    for pairs in (20, 60):
        covered, honest = [], 0
        for seed in range(tournaments):
            meetings = []
            for p1, p2 in combinations(STRENGTHS, 2):
                win_rate = 1 / (1 + 10 ** ((STRENGTHS[p2] - STRENGTHS[p1]) / 400))
                drawn = rng.multinomial(pairs, pair_distribution(win_rate, MEASURED_CORRELATION))
                meetings.append(Meeting(p1, p2, Scores(tuple(int(count) for count in drawn))))
            found = rate(meetings, seed=seed, resamples=500)
            for name, truth in STRENGTHS.items():
                low, high = found[name].low, found[name].high
                if name != "heuristic" and low is not None and high is not None:
                    covered.append(low <= truth <= high)
            places = [found[name].rank or 0 for name in by_strength]
            honest += places == sorted(places)
        print(
            f"Ratings of 5 policies from {pairs} pairs a pairing, {tournaments} tournaments: {np.mean(covered):.3f} of "
            f"the intervals contain the truth; in {honest / tournaments:.3f} no rank contradicts the true order"
        )
    print()


def real_pool(run_file: Path | None) -> Floats:
    """Pairs of battles that were played and reviewed: p1's mean score without luck, and as played (pairs, 2)."""
    if run_file is None:
        with TemporaryDirectory() as folder:
            store = Store(folder)
            inline = Inline(store, Settings())
            asked = NewMatchup(p1="typed", p2="heuristic", battles=POOL_BATTLES, seed=POOL_SEED, luck="on")
            id = ask(MatchupWork(store, Settings(), on_command_line=True), asked, inline)
            inline.drain()
            run = Matchups(store).run(id)
    else:
        run = read_run(run_file)
    played = (Played(each.pair, each.winner, luck=each.review.luck) for each in run.battles if each.review)
    sizes, sums = observations(played)
    pairs: Floats = sums[sizes == 2] / 2
    return pairs


def shifted(pool: Floats, win_rate: float) -> tuple[Floats, Floats]:
    """Pool pairs from either side, and a weight for each, so that the mean score is `win_rate`."""
    both = np.concatenate([pool, 1 - pool])
    mean = float(pool.mean())
    share = 0.5 if mean == 0.5 else min(1.0, max(0.0, (win_rate - (1 - mean)) / (2 * mean - 1)))
    weights = np.repeat([share, 1 - share], len(pool)) / len(pool)
    # Where exchanging sides does not reach that far, what is left is a shift.
    return both + win_rate - float(weights @ both), weights


def tested_without_luck(pool: Floats, win_rate: float, most: int, matchups: int, rng: np.random.Generator) -> Tested:
    """Draw matchups of that strength from a pool of pairs, and play them until decided."""
    scores, weights = shifted(pool, win_rate)
    looks = look_ranges(most, pairs=True)
    drawn = rng.choice(scores, size=(matchups, most // 2), p=weights)
    verdicts, battles = np.full(matchups, _UNDECIDED), np.full(matchups, most)
    for look in looks:
        seen = drawn[:, : look.stop // 2]
        mean = seen.mean(1)
        squares = ((seen - mean[:, None]) ** 2).sum(1)
        ratios = mean_log_likelihood_ratios(np.full(matchups, float(seen.shape[1])), mean, squares, 0.1)
        found = decide(mean, *ratios, LikelihoodBounds.of(ERROR, SHARES_WITHOUT_LUCK))
        ended = (verdicts == _UNDECIDED) & (found != _UNDECIDED)
        verdicts[ended], battles[ended] = found[ended], look.stop
    shares = {decided: float((verdicts == index).mean()) for index, decided in enumerate(Decided)}
    return Tested(shares, float(battles.mean()))


def luck(pool: Floats, matchups: int, fixed: int, rng: np.random.Generator) -> dict[str, float]:
    """Print what taking out the luck is worth on real battles."""
    without, as_played = pool.T
    gain = float(as_played.var() / without.var())
    difference = without - as_played
    error = float(difference.std(ddof=1) / len(pool) ** 0.5)
    print(f"Luck, on {len(pool)} real pairs of typed against heuristic")
    print(f"mean {as_played.mean():.3f} as played, {without.mean():.3f} without luck, {error:.3f} of standard error")
    print(f"variance of pairs {as_played.var():.4f} as played, {without.var():.4f} without luck: a gain of {gain:.2f}")
    covered = []
    for pairs in (10, 20, 50, 100):
        scores = rng.choice(without, size=(matchups, pairs))
        width = t_quantile(pairs - 1, 0.975) * standard_error(np.full_like(scores, 2.0), 2 * scores)
        covered.append(float((np.abs(scores.mean(1) - without.mean()) <= width).mean()))
        print(f"the interval of {pairs:>3} pairs contains the mean in {covered[-1]:.3f}")
    worst = 0.0
    for truth in (0.5, 0.6):
        result = tested_without_luck(without, truth, MAX_BATTLES, matchups, rng)
        wrong = result.wrong(truth, 0.1)
        worst = max(worst, wrong)
        print(f"at {truth:.2f} the sequential test is wrong in {wrong:.4f}, after {result.mean_battles:.1f} battles")
    decided = tested_without_luck(without, 0.6, fixed, matchups, rng)
    stronger = decided.shares[Decided.P1_STRONGER]
    print(f"60 to 40, at most {fixed}: {decided.mean_battles:.1f} battles, {stronger:.3f} p1 stronger\n")
    return {
        "mean_battles_60_40_luck": round(decided.mean_battles, 1),
        "luck_interval_coverage": round(float(np.mean(covered)), 4),
        "luck_sequential_error": round(worst, 4),
        "luck_variance_gain": round(gain, 3),
    }


def main() -> None:
    """Measure everything and print it."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--matchups", type=int, default=20_000)
    parser.add_argument("--tournaments", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pool", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    fixed = battles_needed(0.6) or 0
    covered = intervals(options.matchups, rng)
    wrong = sequential_tests(options.matchups, rng)
    battles = battles_to_decide(options.matchups, fixed, rng)
    ratings(options.tournaments, rng)
    figures = {
        "interval_coverage": round(covered, 4),
        "sequential_error": round(wrong, 4),
        "mean_battles_60_40": round(battles, 1),
        "fixed_battles_60_40": fixed,
        **luck(real_pool(options.pool), min(options.matchups, LUCK_MATCHUPS), fixed, rng),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
