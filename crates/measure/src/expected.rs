//! The accuracy to expect of models that have not seen the rows, with a band.
//!
//! It comes from models fitted on other rows and never from a capacity: a sort that predicted 37 to
//! 52 % was seen where forests reach 80 to 98 %. Each model answers every row once, fitted on four of
//! five folds. The best of three is reported, which flatters it by less than the band; a network that
//! is trained with care may do better.

use crate::features::Features;
use crate::figure::Interval;
use crate::forest::{Binned, Forest, answer, bits};
use crate::linear::{Gram, PENALTIES, dot, moments_with_labels, outputs};
use crate::null::moments;
use crate::problem::Problem;
use crate::random::{Stream, sample};

/// Most rows.
const MOST_ROWS: usize = 40_000;
/// Cells of rows times trees of a forest; more rows have fewer trees.
const WORK: usize = 2_000_000;
/// Folds.
const FOLDS: usize = 5;

/// What a model reaches on rows it has not seen.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelScore {
    /// Name of the model.
    pub model: &'static str,
    /// Share of right answers.
    pub accuracy: f64,
    /// Bits a row that its probabilities leave open; None where it gives none.
    pub loss_bits: Option<f64>,
}

/// Expected accuracy.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// Rows answered.
    pub rows: usize,
    /// Folds.
    pub folds: usize,
    /// The best model.
    pub model: &'static str,
    /// Its accuracy.
    pub accuracy: f64,
    /// 90 % interval of it, from the number of rows and the spread of the folds, whichever is wider.
    pub interval: Interval,
    /// All models.
    pub models: Vec<ModelScore>,
}

/// Cross-fitted accuracy; None with fewer than 10 rows.
pub(crate) fn expected(problem: &Problem, seed: u64) -> Option<Expected> {
    let rows = sample(problem.rows(), MOST_ROWS, seed);
    let problem = problem.bare(&rows);
    let n = problem.rows();
    if n < 2 * FOLDS {
        return None;
    }
    let folds = folds(n, seed);
    let forest = forest(&problem, &folds, seed);
    let linear = linear(&problem, &folds);
    let guess = guess(&problem, &folds);
    let right = |answers: &[u32]| -> Vec<f64> {
        let share = |(held, _): &(Vec<u32>, Vec<u32>)| {
            let hits = held
                .iter()
                .filter(|&&r| answers[r as usize] == problem.labels[r as usize]);
            hits.count() as f64 / held.len().max(1) as f64
        };
        folds.iter().map(share).collect()
    };
    let accuracy = |answers: &[u32]| {
        let hits = answers.iter().zip(&problem.labels).filter(|(a, b)| a == b);
        hits.count() as f64 / n as f64
    };
    let named = [
        ("random forest", &forest.0, Some(forest.1)),
        ("linear model", &linear, None),
        ("largest class", &guess, None),
    ];
    let models: Vec<ModelScore> = named
        .iter()
        .map(|(model, answers, loss_bits)| ModelScore {
            model,
            accuracy: accuracy(answers),
            loss_bits: *loss_bits,
        })
        .collect();
    let mut best = 0;
    for (i, m) in models.iter().enumerate() {
        if m.accuracy > models[best].accuracy {
            best = i;
        }
    }
    let point = models[best].accuracy;
    let (_, between) = moments(&right(named[best].1));
    let counting = (point * (1.0 - point) / n as f64).sqrt();
    let reach = 1.645 * counting.max(between / (FOLDS as f64).sqrt());
    Some(Expected {
        rows: n,
        folds: FOLDS,
        model: models[best].model,
        accuracy: point,
        interval: Interval {
            low: (point - reach).max(0.0),
            high: (point + reach).min(1.0),
        },
        models,
    })
}

/// Held-out rows and the others, for each fold.
pub(crate) fn folds(n: usize, seed: u64) -> Vec<(Vec<u32>, Vec<u32>)> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    Stream::new(seed, 0xf01d).shuffle(&mut order);
    let part = |fold: usize, held: bool| {
        let rows = order.iter().enumerate();
        let rows = rows.filter(|(i, _)| (i % FOLDS == fold) == held);
        let mut rows: Vec<u32> = rows.map(|(_, &r)| r).collect();
        rows.sort_unstable();
        rows
    };
    (0..FOLDS)
        .map(|f| (part(f, true), part(f, false)))
        .collect()
}

/// Answers of cross-fitted forests, and their bits a row.
fn forest(problem: &Problem, folds: &[(Vec<u32>, Vec<u32>)], seed: u64) -> (Vec<u32>, f64) {
    let binned = Binned::new(problem);
    let (n, k) = (problem.rows(), problem.classes.len());
    let trees = (WORK / n).clamp(24, 100);
    let mut answers = vec![0; n];
    let mut loss = 0.0;
    for (held, rest) in folds {
        let forest = Forest::fit(&binned, rest, &problem.labels, trees, seed);
        let predicted = forest.predict(&binned, held);
        loss += bits(&predicted, held, &problem.labels, k);
        for (p, &row) in predicted.chunks(k).zip(held) {
            answers[row as usize] = answer(p);
        }
    }
    (answers, loss / n as f64)
}

/// Answers of cross-fitted least squares on the classes.
fn linear(problem: &Problem, folds: &[(Vec<u32>, Vec<u32>)]) -> Vec<u32> {
    let features = Features::of(problem);
    let mut answers = guess(problem, folds);
    if features.d == 0 || problem.classes.len() > outputs(problem.classes.len()) {
        return answers;
    }
    let k = outputs(problem.classes.len());
    for (held, rest) in folds {
        let factor = Gram::of(&features, rest).factor(PENALTIES[1] * rest.len() as f64);
        let (moments, means) = moments_with_labels(&features, rest, &problem.labels, k);
        let weights: Vec<Vec<f64>> = moments.iter().map(|b| factor.solve(b)).collect();
        for &row in held {
            let x = features.row(row as usize);
            let score = |c: usize| (means[c] + dot(&weights[c], x)) as f32;
            let scores: Vec<f32> = (0..k).map(score).collect();
            answers[row as usize] = answer(&scores);
        }
    }
    answers
}

fn guess(problem: &Problem, folds: &[(Vec<u32>, Vec<u32>)]) -> Vec<u32> {
    let mut answers = vec![0; problem.rows()];
    for (held, rest) in folds {
        let mut counts = vec![0u64; problem.classes.len()];
        rest.iter()
            .for_each(|&r| counts[problem.labels[r as usize] as usize] += 1);
        let (label, _) = crate::runs::majority(&counts);
        held.iter().for_each(|&r| answers[r as usize] = label);
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{coins, numbers, on_threads, rule, uniform};

    #[test]
    fn is_what_models_reach() {
        let p = rule(2, 600, 4, 0);
        let found = on_threads(|| expected(&p, 1)).unwrap();
        assert!(
            found.accuracy > 0.93 && found.interval.high > 0.95,
            "{found:?}"
        );
        assert!(found.interval.low < found.accuracy, "{found:?}");
        let noisy = expected(&rule(2, 600, 4, 20), 1).unwrap();
        assert!(
            (0.68..0.83).contains(&noisy.accuracy),
            "a fifth is noise: {noisy:?}"
        );
        assert_eq!((found.rows, found.folds, found.models.len()), (600, 5, 3));
        let coin = numbers(vec![uniform(1, 600), uniform(2, 600)], &coins(3, 600));
        let found = expected(&coin, 1).unwrap();
        assert!(
            found.interval.low < 0.52 && found.accuracy < 0.58,
            "{found:?}"
        );
        let tiny = numbers(vec![uniform(1, 9)], &coins(2, 9));
        assert_eq!(expected(&tiny, 1), None);
    }

    #[test]
    fn folds_hold_every_row_once() {
        let all = folds(23, 4);
        let mut held: Vec<u32> = all.iter().flat_map(|f| f.0.clone()).collect();
        held.sort_unstable();
        assert_eq!(held, (0..23).collect::<Vec<_>>());
        assert!(
            all.iter()
                .all(|(h, r)| h.len() + r.len() == 23 && h.iter().all(|x| !r.contains(x)))
        );
    }
}
