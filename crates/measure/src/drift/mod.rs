//! Whether new data are still like those of a reference.
//!
//! Without labels: one or two tests a column, and one of all columns together. With labels also: whether
//! the new rows need another capacity than as many of the reference, whether two rules serve both parts
//! better than one, and whether the reference's rule fails on the new labels; these see a change of the
//! labels given the columns, which no test of columns can.
//!
//! Chances are corrected for the number of tests: where nothing has changed, drift is found with at
//! most the chance `alpha`. Half of it goes to the columns (Benjamini and Hochberg, "Controlling the
//! false discovery rate", 1995), half to the other tests (Holm, "A simple sequentially rejective multiple
//! test procedure", 1979). That drift is found does not say that it matters: with many rows, small
//! changes are found, and sizes (`psi`, `change`, errors) stand beside the chances.

mod columns;
mod joint;
mod p_value;
mod profile;

use bantam_core::order::argsort;
use bantam_data::{Column, LeftOut, MISSING, Reason, Table, Values, identifiers};

pub use profile::Profile;

use crate::bits::null_changes;
use crate::error::{Error, ErrorKind, Result};
use crate::parallel::map;
use crate::problem::{self, Problem};
use crate::random::{Stream, sample};
use crate::tree::compare::Comparer;

/// Most rows of each part whose capacity is compared: the trees are grown hundreds of times.
const CAPACITY_ROWS: usize = 1000;
/// Most rows of each part by which a rule is learnt and judged.
const RULE_ROWS: usize = 5000;
/// Fewest rows of each part with a label.
const LEAST_LABELLED: usize = 20;

/// How to compare.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Chance of finding drift where there is none.
    pub alpha: f64,
    /// Column whose values are labels.
    pub target: Option<String>,
    /// Every distinct value of the target is a class.
    pub every_value_is_a_class: bool,
    /// Columns that are compared though they look like identifiers.
    pub keep: Vec<String>,
    /// Columns that are not compared.
    pub drop: Vec<String>,
    /// Permutations of the tests that need them.
    pub permutations: usize,
    /// Seed of permutations and samples.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            alpha: 0.05,
            target: None,
            every_value_is_a_class: false,
            keep: Vec::new(),
            drop: Vec::new(),
            permutations: 400,
            seed: 0,
        }
    }
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// Whether any test found a change.
    pub drifted: bool,
    /// Tests of single columns, in the order of the reference.
    pub columns: Vec<ColumnDrift>,
    /// All columns together; none when there are too few rows.
    pub joint: Option<TableTest>,
    /// What labels show; none without labels.
    pub labels: Option<LabelDrift>,
    /// Columns that were not compared, with the reason.
    pub left_out: Vec<LeftOut>,
    /// What the user should know, a sentence each.
    pub notices: Vec<String>,
}

/// A test of one column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDrift {
    /// Its name.
    pub name: String,
    /// `ks`, `chi-square`, or `missing` for the share of missing cells.
    pub test: &'static str,
    /// What the test measures.
    pub statistic: f64,
    /// Chance of as large a statistic without drift.
    pub p: f64,
    /// The same, corrected for the number of tests; below alpha it is drift.
    pub p_adjusted: f64,
    /// Population stability index.
    pub psi: f64,
    /// Whether the column has changed.
    pub drifted: bool,
}

/// A test of the whole table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableTest {
    /// Rows of both parts that it used.
    pub rows: usize,
    /// What it measures.
    pub statistic: f64,
    /// As in [`ColumnDrift`].
    pub p: f64,
    /// As in [`ColumnDrift`].
    pub p_adjusted: f64,
    /// Whether it found a change.
    pub drifted: bool,
}

/// What labels show.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelDrift {
    /// Splits of a tree over the label changes of a random order, at equal row counts.
    pub reference_ratio: f64,
    /// The same for the new rows.
    pub new_ratio: f64,
    /// Whether the two differ; the statistic is the new ratio less that of the reference.
    pub capacity: TableTest,
    /// Whether two rules serve both parts better than one; the statistic is the splits that one tree for
    /// both takes beyond two trees.
    pub regimes: TableTest,
    /// Share of wrong answers of the reference's rule on its own rows, held out.
    pub reference_error: f64,
    /// Share of wrong answers of the same rule on the new rows.
    pub new_error: f64,
    /// Whether the rule fails on the new rows; the statistic is the difference in standard errors.
    pub rule: TableTest,
}

/// Compares new rows with those of a reference, column by column and together.
///
/// Errs when a column of the reference is not among the new ones (but for the target, without which
/// labels are not compared), a name is unknown, or no column is left.
pub fn drift(reference: &Profile, new: &Profile, options: &Options) -> Result<Drift> {
    let mut notices = Vec::new();
    let named = options
        .keep
        .iter()
        .chain(&options.drop)
        .chain(&options.target);
    for name in named {
        reference.table.column(name)?;
    }
    let target = options.target.as_deref();
    let labelled = target.filter(|t| new.table.column(t).is_ok());
    if let (Some(target), None) = (target, labelled) {
        notices.push(format!(
            "the new data have no column {target:?}: labels are not compared"
        ));
    }
    let (names, left_out) = compared(&reference.table, labelled.or(target), options);
    if names.is_empty() {
        let error = Error::new(ErrorKind::Column, "no column is left to compare");
        return Err(error.with_hint("name the columns to keep all the same"));
    }
    let (a, b) = alike(reference, new, &names, target)?;
    let mut found: Vec<(usize, columns::Tested)> = map(a.columns().len(), |i| {
        columns::test(&a.columns()[i], &b.columns()[i])
    })
    .into_iter()
    .enumerate()
    .flat_map(|(i, tested)| tested.into_iter().map(move |t| (i, t)))
    .collect();
    let half = options.alpha / 2.0;
    let adjusted = benjamini_hochberg(&found.iter().map(|f| f.1.p).collect::<Vec<_>>());
    let columns: Vec<ColumnDrift> = found
        .drain(..)
        .zip(adjusted)
        .map(|((i, t), q)| ColumnDrift {
            name: a.columns()[i].name.clone(),
            test: t.test,
            statistic: t.statistic,
            p: t.p,
            p_adjusted: (2.0 * q).min(1.0),
            psi: t.psi,
            drifted: q <= half,
        })
        .collect();
    let features = |t: &Table| {
        let kept = t
            .columns()
            .iter()
            .filter(|c| Some(c.name.as_str()) != labelled);
        Table::new(kept.cloned().collect())
    };
    let both = joined(&features(&a)?, &features(&b)?)?;
    let joint = joint::test(&both, a.rows(), options.permutations, options.seed);
    let labels = match labelled {
        Some(target) => of_labels(&joined(&a, &b)?, a.rows(), target, options, &mut notices)?,
        None => None,
    };
    Ok(concluded(columns, joint, labels, left_out, notices, half))
}

/// A test before correction.
struct Raw {
    rows: usize,
    statistic: f64,
    p: f64,
}

struct RawLabels {
    ratios: (f64, f64),
    errors: (f64, f64),
    capacity: Raw,
    regimes: Raw,
    rule: Raw,
}

fn concluded(
    columns: Vec<ColumnDrift>,
    joint: Option<joint::Joint>,
    labels: Option<RawLabels>,
    left_out: Vec<LeftOut>,
    notices: Vec<String>,
    half: f64,
) -> Drift {
    let raw: Vec<f64> = joint
        .iter()
        .map(|j| j.p)
        .chain(
            labels
                .iter()
                .flat_map(|l| [l.capacity.p, l.regimes.p, l.rule.p]),
        )
        .collect();
    let mut adjusted = holm(&raw).into_iter();
    let mut finish = |raw: Raw| {
        let q = adjusted.next().expect("one for each test");
        TableTest {
            rows: raw.rows,
            statistic: raw.statistic,
            p: raw.p,
            p_adjusted: (2.0 * q).min(1.0),
            drifted: q <= half,
        }
    };
    let joint = joint.map(|j| {
        finish(Raw {
            rows: j.rows,
            statistic: j.statistic,
            p: j.p,
        })
    });
    let labels = labels.map(|l| LabelDrift {
        reference_ratio: l.ratios.0,
        new_ratio: l.ratios.1,
        capacity: finish(l.capacity),
        regimes: finish(l.regimes),
        reference_error: l.errors.0,
        new_error: l.errors.1,
        rule: finish(l.rule),
    });
    let in_labels = labels
        .as_ref()
        .is_some_and(|l| l.capacity.drifted || l.regimes.drifted || l.rule.drifted);
    Drift {
        drifted: columns.iter().any(|c| c.drifted)
            || joint.as_ref().is_some_and(|j| j.drifted)
            || in_labels,
        columns,
        joint,
        labels,
        left_out,
        notices,
    }
}

/// The columns that are compared, the target among them, and those that are not.
fn compared(table: &Table, target: Option<&str>, options: &Options) -> (Vec<String>, Vec<LeftOut>) {
    let found = identifiers(table, target.unwrap_or_default());
    let (mut names, mut left_out) = (Vec::new(), Vec::new());
    for name in table.names() {
        let asked = |names: &[String]| names.iter().any(|n| n == name);
        // What has one value in the reference may have others by now, so it stays.
        let identifier = found.iter().find(|l| l.column == name).map(|l| l.reason);
        let identifier = identifier.filter(|r| {
            !matches!(r, Reason::Constant | Reason::AllMissing) && !asked(&options.keep)
        });
        let reason = if asked(&options.drop) {
            Some(Reason::Dropped)
        } else {
            identifier
        };
        match reason {
            None => names.push(name.to_owned()),
            Some(reason) => left_out.push(LeftOut {
                column: name.to_owned(),
                reason,
            }),
        }
    }
    (names, left_out)
}

/// The columns of both that are compared, of the same types.
fn alike(
    reference: &Profile,
    new: &Profile,
    names: &[String],
    target: Option<&str>,
) -> Result<(Table, Table)> {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for name in names {
        let x = reference.table.column(name)?;
        let y = match new.table.column(name) {
            Ok(column) => column,
            // The target may be absent: the labels are what is to be predicted.
            Err(_) if target == Some(name.as_str()) => continue,
            Err(error) => {
                let error: Error = error.into();
                let hint = error.hint().map(str::to_owned);
                let message = format!("{}: {error}", new.source);
                let error = Error::new(ErrorKind::Column, message);
                return Err(match hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                });
            }
        };
        let (x, y) = same_type(x, y);
        a.push(x);
        b.push(y);
    }
    Ok((Table::new(a)?, Table::new(b)?))
}

/// A column without any cell has the type of its counterpart; a number beside a text is a text.
fn same_type(x: &Column, y: &Column) -> (Column, Column) {
    let as_texts = |c: &Column| match &c.values {
        Values::Numeric(v) => {
            let text = |x: &f64| (!x.is_nan()).then(|| x.to_string());
            Column::categorical(c.name.clone(), &v.iter().map(text).collect::<Vec<_>>())
        }
        Values::Categorical { .. } => c.clone(),
    };
    match (&x.values, &y.values) {
        (Values::Numeric(_), Values::Categorical { .. })
        | (Values::Categorical { .. }, Values::Numeric(_)) => (as_texts(x), as_texts(y)),
        _ => (x.clone(), y.clone()),
    }
}

/// The rows of `a` and below them those of `b`; their columns are the same.
fn joined(a: &Table, b: &Table) -> Result<Table> {
    let column = |(x, y): (&Column, &Column)| match (&x.values, &y.values) {
        (Values::Numeric(u), Values::Numeric(v)) => {
            Column::numeric(x.name.clone(), [&u[..], &v[..]].concat())
        }
        (u, v) => {
            let texts: Vec<Option<&str>> = [u, v].into_iter().flat_map(texts).collect();
            Column::categorical(x.name.clone(), &texts)
        }
    };
    let columns = a.columns().iter().zip(b.columns()).map(column);
    Ok(Table::new(columns.collect())?)
}

fn texts(values: &Values) -> Vec<Option<&str>> {
    match values {
        Values::Numeric(_) => unreachable!("both columns have one type"),
        Values::Categorical { codes, levels } => {
            let text = |&c: &u32| (c != MISSING).then(|| levels[c as usize].as_str());
            codes.iter().map(text).collect()
        }
    }
}

/// Tests of the labels of a joined table whose first `n` rows are the reference.
fn of_labels(
    both: &Table,
    n: usize,
    target: &str,
    options: &Options,
    notices: &mut Vec<String>,
) -> Result<Option<RawLabels>> {
    let goal = &both.column(target)?.values;
    let labelled: Vec<usize> = (0..both.rows()).filter(|&r| !goal.is_missing(r)).collect();
    let n = labelled.iter().filter(|&&r| r < n).count();
    let m = labelled.len() - n;
    if n.min(m) < LEAST_LABELLED {
        notices.push(format!(
            "labels are not compared: expected {LEAST_LABELLED} rows with one in both, found {n} and {m}"
        ));
        return Ok(None);
    }
    let made = problem::Options {
        exclude_identifiers: false,
        every_value_is_a_class: options.every_value_is_a_class,
        ..problem::Options::default()
    };
    let problem = match Problem::from_table(&both.select(&labelled), target, &made) {
        Ok(problem) => problem,
        Err(error) if matches!(error.kind(), ErrorKind::NotClasses | ErrorKind::Column) => {
            notices.push(format!("labels are compared as a column only: {error}"));
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let comparer = Comparer::new(&problem);
    let some = |most: usize, seed: u64| -> (Vec<u32>, Vec<u32>) {
        let part = |from: usize, count: usize, most: usize, seed: u64| {
            let rows = sample(count, most, seed).into_iter();
            rows.map(|r| (from + r) as u32).collect::<Vec<u32>>()
        };
        (part(0, n, most, seed), part(n, m, most, seed ^ 1))
    };
    let (a, b) = some(RULE_ROWS, options.seed);
    let Some(transfer) = comparer.transfer(&a, &b, options.seed) else {
        return Ok(None);
    };
    let (e, f) = (transfer.reference_error, transfer.new_error);
    let (na, nb) = (a.len() as f64, b.len() as f64);
    let pooled = (e * na + f * nb) / (na + nb);
    let spread = (pooled * (1.0 - pooled) * (1.0 / na + 1.0 / nb)).sqrt();
    let z = if spread > 0.0 { (f - e) / spread } else { 0.0 };
    let equal = CAPACITY_ROWS.min(n).min(m);
    let (a, b) = some(equal, options.seed ^ 2);
    let found = permuted_capacity(&comparer, &problem, (&a, &b), options);
    Ok(Some(RawLabels {
        errors: (e, f),
        rule: Raw {
            rows: (na + nb) as usize,
            statistic: z,
            p: p_value::normal_tail(z),
        },
        ..found
    }))
}

/// Splits of each part and what they are when the parts are mixed.
fn permuted_capacity(
    comparer: &Comparer,
    problem: &Problem,
    (a, b): (&[u32], &[u32]),
    options: &Options,
) -> RawLabels {
    let ratio = |rows: &[u32], splits: usize| {
        let mut counts = vec![0; problem.classes.len()];
        rows.iter()
            .for_each(|&r| counts[problem.labels[r as usize] as usize] += 1);
        match null_changes(&counts) {
            null if null > 0.0 => splits as f64 / null,
            _ => 0.0,
        }
    };
    let both: Vec<u32> = [a, b].concat();
    // The two ratios, and the splits of both trees.
    let parts = |rows: &[u32]| {
        let (mut a, mut b) = (rows[..a.len()].to_vec(), rows[a.len()..].to_vec());
        a.sort_unstable();
        b.sort_unstable();
        let (s, t) = (comparer.splits(a.clone()), comparer.splits(b.clone()));
        (ratio(&a, s), ratio(&b, t), s + t)
    };
    let own = parts(&both);
    // Half as many as elsewhere: a draw grows two trees.
    let draws = options.permutations / 2;
    let shuffled: Vec<(f64, f64, usize)> = map(draws, |draw| {
        let mut rows = both.clone();
        Stream::new(options.seed, draw as u64).shuffle(&mut rows);
        parts(&rows)
    });
    let chance = |count: usize| (1 + count) as f64 / (1 + draws) as f64;
    let change = own.1 - own.0;
    let as_far = |s: &&(f64, f64, usize)| (s.1 - s.0).abs() >= change.abs() - 1e-12;
    let as_few = |s: &&(f64, f64, usize)| s.2 <= own.2;
    let mut all = both.clone();
    all.sort_unstable();
    let together = comparer.splits(all) as f64;
    let raw = |statistic: f64, count: usize| Raw {
        rows: both.len(),
        statistic,
        p: chance(count),
    };
    RawLabels {
        ratios: (own.0, own.1),
        capacity: raw(change, shuffled.iter().filter(as_far).count()),
        regimes: raw(
            together - own.2 as f64,
            shuffled.iter().filter(as_few).count(),
        ),
        errors: (0.0, 0.0),
        rule: raw(0.0, 0),
    }
}

/// Smallest levels at which each test is rejected when the false discovery rate is controlled.
fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let order = argsort(p.len(), |a, b| p[b].total_cmp(&p[a]));
    let mut adjusted = vec![1.0; p.len()];
    let mut least = 1f64;
    for (above, &i) in order.iter().enumerate() {
        least = least.min(p[i] * p.len() as f64 / (p.len() - above) as f64);
        adjusted[i] = least;
    }
    adjusted
}

/// Smallest levels at which each test is rejected when the chance of any false one is controlled.
fn holm(p: &[f64]) -> Vec<f64> {
    let order = argsort(p.len(), |a, b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![1.0; p.len()];
    let mut most = 0f64;
    for (below, &i) in order.iter().enumerate() {
        most = most.max((p[i] * (p.len() - below) as f64).min(1.0));
        adjusted[i] = most;
    }
    adjusted
}

#[cfg(test)]
mod tests;
