//! What is to be learnt: typed columns and a class for each row.
//!
//! Every estimator reads a [`Problem`] and nothing else. Identifiers and constants are left out,
//! with the reason, but kept beside, so that figures can be given with and without them.

use bantam_core::{DType, Data};
use bantam_data::{Column, LeftOut, Reason, Samples, Table, Values, identifiers};

use crate::bits::entropy_bits;
use crate::codes::{Coded, code_columns};
use crate::error::{Error, ErrorKind, Result};
use crate::random;

/// Most distinct whole numbers that are taken for classes without being asked to.
const MOST_NUMBERED_CLASSES: usize = 20;
/// Most classes.
const MOST_CLASSES: usize = 1000;

/// How a table is made into a [`Problem`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Leave out the columns that are identifiers by [`bantam_data::identifiers`]; they always
    /// stay when this is false, while constants never do. Default true.
    pub exclude_identifiers: bool,
    /// Columns that stay though they look like identifiers.
    pub keep: Vec<String>,
    /// Columns that are left out whatever they look like.
    pub drop: Vec<String>,
    /// Every distinct value of the target is a class, even when there are many numbers.
    pub every_value_is_a_class: bool,
    /// Half the width of the cells that a number as the target is put into; each cell is a class then.
    pub tolerance: Option<f64>,
    /// Most cells (rows times columns) that [`Problem::from_rows`] and
    /// [`Problem::from_samples`] keep.
    pub max_cells: usize,
    /// Seed of the sample, where one is taken.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            exclude_identifiers: true,
            keep: Vec::new(),
            drop: Vec::new(),
            every_value_is_a_class: false,
            tolerance: None,
            max_cells: 3_000_000,
            seed: 0,
        }
    }
}

/// A column that the estimators do not see.
#[derive(Clone, Debug)]
pub struct Hidden {
    /// The column.
    pub column: Column,
    /// Why.
    pub reason: Reason,
}

/// Typed columns and a class for each row.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Names of the classes, in the order of their ids.
    pub classes: Vec<String>,
    /// Class id of each row.
    pub labels: Vec<u32>,
    /// What may be learnt from, in the order of the table.
    pub columns: Vec<Column>,
    /// What is left out.
    pub left_out: Vec<Hidden>,
    /// Rows the caller gave, with or without label; more than there are labels when some had no
    /// label or a sample was taken.
    pub rows_given: usize,
    /// Rows left out because their target is missing.
    pub rows_without_label: usize,
}

/// What counting alone says about a problem; all of it is exact.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Rows of each class.
    pub class_counts: Vec<usize>,
    /// Bits a row that the labels hold.
    pub entropy_bits: f64,
    /// Bits that the labels of all rows hold, given the class shares.
    pub label_bits: f64,
    /// Share of rows that are right when the most frequent class is always guessed.
    pub best_guess: f64,
    /// Cells without a value.
    pub missing_cells: usize,
    /// Share of cells without a value.
    pub missing_share: f64,
    /// Rows that differ from all rows above them.
    pub distinct_rows: usize,
    /// Rows of which a row above has all the same cells: all rows less the distinct ones.
    pub duplicate_rows: usize,
    /// Most rows that one deterministic model of these columns can have right.
    pub consistent_rows: usize,
    /// Error on these rows that no deterministic model of these columns can go below.
    pub irreducible_error: f64,
}

impl Problem {
    /// The problem of predicting the column `target` of a table.
    ///
    /// Text is classes, and so are up to 20 distinct whole numbers. Rows without a target are left
    /// out and counted. One class is allowed: there is nothing to learn then, and where no other column
    /// is left, those that do not vary stay.
    ///
    /// Errs with [`ErrorKind::NotClasses`] when the target is a number or nearly all its texts are
    /// different; with [`ErrorKind::Column`] when a name is unknown or no column is left; with
    /// [`ErrorKind::Rows`] when no row has a target.
    pub fn from_table(table: &Table, target: &str, options: &Options) -> Result<Problem> {
        for name in options.keep.iter().chain(&options.drop) {
            table.column(name)?;
        }
        let goal = &table.column(target)?.values;
        let rows: Vec<usize> = (0..goal.len()).filter(|&r| !goal.is_missing(r)).collect();
        let (labels, classes) = classes(goal, &rows, options).map_err(|e| e.in_column(target))?;
        let mut problem = Problem {
            classes,
            labels,
            columns: Vec::new(),
            left_out: Vec::new(),
            rows_given: table.rows(),
            rows_without_label: table.rows() - rows.len(),
        };
        let found = identifiers(table, target);
        for column in table.columns().iter().filter(|c| c.name != target) {
            let values = column.values.select(&rows);
            let reason = reason(column, &values, &found, options);
            let column = Column::new(column.name.clone(), values);
            match reason {
                None => problem.columns.push(column),
                Some(reason) => problem.left_out.push(Hidden { column, reason }),
            }
        }
        if problem.columns.is_empty() && problem.classes.len() == 1 {
            // Where there is nothing to tell apart, columns that tell nothing apart are no worse.
            let dropped = |h: &Hidden| h.reason == Reason::Dropped;
            let (left_out, back): (Vec<Hidden>, Vec<Hidden>) =
                problem.left_out.into_iter().partition(dropped);
            problem.columns = back.into_iter().map(|h| h.column).collect();
            problem.left_out = left_out;
        }
        if problem.columns.is_empty() {
            let left_out = problem.left_out();
            let list: Vec<String> = left_out.iter().take(5).map(LeftOut::to_string).collect();
            let message = format!("no column is left to measure; {}", list.join("; "));
            let error = Error::new(ErrorKind::Column, message);
            return Err(error.with_hint("name the columns to keep all the same"));
        }
        Ok(problem)
    }

    /// The problem of predicting `labels: [n]` from `rows: [n, d]`, row-major.
    ///
    /// When there are more than `options.max_cells` cells, a sample of the rows is taken, the same
    /// for the same seed. Columns are called `x0`, `x1`, ...; constant ones are left out. Classes
    /// are the labels that occur, by number.
    ///
    /// Errs when the counts do not fit, a value is not finite, there are no rows, or every column
    /// is constant.
    pub fn from_rows(rows: &[f32], d: usize, labels: &[u32], options: &Options) -> Result<Problem> {
        let mut ids: Vec<u32> = labels.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let classes = ids.iter().map(u32::to_string).collect();
        let id = |label| ids.binary_search(label).expect("all labels are there") as u32;
        let labels: Vec<u32> = labels.iter().map(id).collect();
        check_rows(rows.len(), d, labels.len())?;
        if let Some(i) = rows.iter().position(|x| !x.is_finite()) {
            let message = format!("expected a finite number, found {}", rows[i]);
            let error = Error::new(ErrorKind::Value, message).at_row(i / d);
            return Err(error.in_column(&format!("x{}", i % d)));
        }
        Problem::from_cells(|i| f64::from(rows[i]), d, labels, classes, options)
    }

    /// The problem of telling the classes of images or arrays apart, each element a column; as
    /// [`Problem::from_rows`] otherwise.
    ///
    /// Errs as that does, and when a label has no class.
    pub fn from_samples(samples: &Samples, options: &Options) -> Result<Problem> {
        let n = samples.labels.len();
        let classes = samples.classes.clone();
        let known = |&l: &i64| {
            u32::try_from(l)
                .ok()
                .filter(|&l| (l as usize) < classes.len())
        };
        let mut labels = Vec::with_capacity(n);
        for (row, label) in samples.labels.iter().enumerate() {
            labels.push(known(label).ok_or_else(|| {
                let message = format!("the label {label} is not one of {} classes", classes.len());
                Error::new(ErrorKind::Value, message).at_row(row)
            })?);
        }
        let d = samples.inputs.shape().iter().skip(1).product();
        match samples.inputs.data() {
            Data::U8(bytes) => {
                check_rows(bytes.len(), d, n)?;
                Problem::from_cells(|i| f64::from(bytes[i]), d, labels, classes, options)
            }
            _ => {
                let Data::F32(values) = samples.inputs.cast(DType::F32).into_data() else {
                    unreachable!("cast to f32")
                };
                let problem = Problem::from_rows(&values, d, &labels, options)?;
                let name = |id: &String| classes[id.parse::<usize>().expect("a number")].clone();
                let classes = problem.classes.iter().map(name).collect();
                Ok(Problem { classes, ..problem })
            }
        }
    }

    fn from_cells(
        cell: impl Fn(usize) -> f64 + Sync,
        d: usize,
        labels: Vec<u32>,
        classes: Vec<String>,
        options: &Options,
    ) -> Result<Problem> {
        check_class_count(classes.len())?;
        let n = labels.len();
        let rows = random::sample(n, (options.max_cells / d).max(1), options.seed);
        let mut problem = Problem {
            classes,
            labels: rows.iter().map(|&r| labels[r]).collect(),
            columns: Vec::new(),
            left_out: Vec::new(),
            rows_given: n,
            rows_without_label: 0,
        };
        for c in 0..d {
            let values: Vec<f64> = rows.iter().map(|&r| cell(r * d + c)).collect();
            let constant = values.iter().all(|&x| x == values[0]);
            let column = Column::numeric(format!("x{c}"), values);
            if constant {
                let reason = Reason::Constant;
                problem.left_out.push(Hidden { column, reason });
            } else {
                problem.columns.push(column);
            }
        }
        if problem.columns.is_empty() {
            let message = "every column has the same value in all rows";
            return Err(Error::new(ErrorKind::Column, message));
        }
        Ok(problem)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    /// What is left out, and why.
    pub fn left_out(&self) -> Vec<LeftOut> {
        let of = |h: &Hidden| LeftOut {
            column: h.column.name.clone(),
            reason: h.reason,
        };
        self.left_out.iter().map(of).collect()
    }

    /// The problem with the columns that look like identifiers put back, behind the others; None
    /// when there are none.
    pub fn with_identifiers(&self) -> Option<Problem> {
        let (back, left_out): (Vec<Hidden>, Vec<Hidden>) = self
            .left_out
            .iter()
            .cloned()
            .partition(|h| is_identifier(h.reason));
        if back.is_empty() {
            return None;
        }
        let mut problem = self.clone();
        problem.columns.extend(back.into_iter().map(|h| h.column));
        problem.left_out = left_out;
        Some(problem)
    }

    /// The problem on some of its rows, in that order; classes and columns stay.
    ///
    /// # Panics
    /// When a row is out of range.
    pub fn select(&self, rows: &[usize]) -> Problem {
        let column = |c: &Column| Column::new(c.name.clone(), c.values.select(rows));
        let hidden = |h: &Hidden| Hidden {
            column: column(&h.column),
            reason: h.reason,
        };
        Problem {
            classes: self.classes.clone(),
            labels: rows.iter().map(|&r| self.labels[r]).collect(),
            columns: self.columns.iter().map(column).collect(),
            left_out: self.left_out.iter().map(hidden).collect(),
            rows_given: self.rows_given,
            rows_without_label: self.rows_without_label,
        }
    }

    /// The problem on some of its rows, without what is left out.
    pub(crate) fn bare(&self, rows: &[usize]) -> Problem {
        let column = |c: &Column| Column::new(c.name.clone(), c.values.select(rows));
        Problem {
            classes: self.classes.clone(),
            labels: rows.iter().map(|&r| self.labels[r]).collect(),
            columns: self.columns.iter().map(column).collect(),
            left_out: Vec::new(),
            rows_given: rows.len(),
            rows_without_label: 0,
        }
    }

    /// Rows of each class.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for &label in &self.labels {
            counts[label as usize] += 1;
        }
        counts
    }

    /// What counting alone says.
    pub fn facts(&self) -> Facts {
        self.facts_of(&code_columns(&self.columns))
    }

    pub(crate) fn facts_of(&self, coded: &[Coded]) -> Facts {
        let n = self.rows();
        let class_counts = self.class_counts();
        let groups = Groups::of(coded, n);
        let consistent_rows = groups.consistent(&self.labels, self.classes.len());
        let missing_cells: usize = self.columns.iter().map(|c| c.values.missing()).sum();
        let entropy_bits = entropy_bits(&class_counts);
        let most = class_counts.iter().copied().max().unwrap_or(0);
        let share = |count: usize, of: usize| count as f64 / of.max(1) as f64;
        Facts {
            entropy_bits,
            label_bits: n as f64 * entropy_bits,
            best_guess: share(most, n),
            missing_cells,
            missing_share: share(missing_cells, n * self.columns.len()),
            distinct_rows: groups.count,
            duplicate_rows: n - groups.count,
            consistent_rows,
            irreducible_error: share(n - consistent_rows, n),
            class_counts,
        }
    }
}

/// Rows with identical cells have one number.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    pub(crate) of: Vec<u32>,
    pub(crate) count: usize,
}

impl Groups {
    /// Exact: refines by one column after the other, until every row is alone.
    pub(crate) fn of(coded: &[Coded], n: usize) -> Groups {
        let mut of = vec![0u32; n];
        let mut count = n.min(1);
        for column in coded {
            if count == n {
                break;
            }
            let values = u64::from(column.n_values) + 1;
            let key = |(&group, &code): (&u32, &u32)| u64::from(group) * values + u64::from(code);
            let keys: Vec<u64> = of.iter().zip(&column.codes).map(key).collect();
            count = number(&keys, count * values as usize, &mut of);
        }
        Groups { of, count }
    }

    /// The label of the majority of each row's group, of several the least.
    pub(crate) fn consensus(&self, labels: &[u32], rows: &[u32], classes: usize) -> Vec<u32> {
        let mut agreed = labels.to_vec();
        if self.count == labels.len() {
            return agreed;
        }
        let mut order: Vec<(u32, u32)> = rows.iter().map(|&r| (self.of[r as usize], r)).collect();
        order.sort_unstable();
        let mut counts = vec![0u64; classes];
        for group in order.chunk_by(|a, b| a.0 == b.0) {
            counts.fill(0);
            for &(_, row) in group {
                counts[labels[row as usize] as usize] += 1;
            }
            let (label, _) = crate::runs::majority(&counts);
            for &(_, row) in group {
                agreed[row as usize] = label;
            }
        }
        agreed
    }

    fn consistent(&self, labels: &[u32], classes: usize) -> usize {
        let rows: Vec<u32> = (0..labels.len() as u32).collect();
        let agreed = self.consensus(labels, &rows, classes);
        agreed.iter().zip(labels).filter(|(a, b)| a == b).count()
    }
}

/// Numbers equal keys, which are below `end`, in the order in which they come; returns how many differ.
fn number(keys: &[u64], end: usize, numbers: &mut [u32]) -> usize {
    let mut next = 0;
    let mut of = |number: &mut u32| {
        if *number == u32::MAX {
            *number = next;
            next += 1;
        }
        *number
    };
    if end <= 4 * keys.len() {
        let mut seen = vec![u32::MAX; end];
        for (number, &key) in numbers.iter_mut().zip(keys) {
            *number = of(&mut seen[key as usize]);
        }
        return next as usize;
    }
    // A table of places with linear probing, twice as large as it will be full.
    let bits = (2 * keys.len()).next_power_of_two().trailing_zeros();
    let mut seen = vec![(0u64, u32::MAX); 1 << bits];
    for (number, &key) in numbers.iter_mut().zip(keys) {
        let mut at = (crate::random::hash(0, key) >> (64 - bits)) as usize;
        while seen[at].1 != u32::MAX && seen[at].0 != key {
            at = (at + 1) & (seen.len() - 1);
        }
        seen[at].0 = key;
        *number = of(&mut seen[at].1);
    }
    next as usize
}

fn is_identifier(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Identifier { .. } | Reason::Counter | Reason::ManyLevels { .. }
    )
}

fn reason(
    column: &Column,
    values: &Values,
    found: &[LeftOut],
    options: &Options,
) -> Option<Reason> {
    if options.drop.contains(&column.name) {
        return Some(Reason::Dropped);
    }
    if values.missing() == values.len() {
        return Some(Reason::AllMissing);
    }
    if values.missing() == 0 && values.is_constant() {
        return Some(Reason::Constant);
    }
    let reason = found.iter().find(|l| l.column == column.name)?.reason;
    let kept = !options.exclude_identifiers || options.keep.contains(&column.name);
    (is_identifier(reason) && !kept).then_some(reason)
}

/// Class ids of `rows` and the names of the classes that occur in them.
pub(crate) fn classes(
    goal: &Values,
    rows: &[usize],
    options: &Options,
) -> Result<(Vec<u32>, Vec<String>)> {
    if rows.is_empty() {
        return Err(Error::new(ErrorKind::Rows, "no row has a target"));
    }
    if let Some(tolerance) = options.tolerance {
        return crate::tolerance::cells(goal, rows, tolerance);
    }
    let coded = Coded::of(&goal.select(rows));
    let count = coded.n_values as usize;
    let not_classes = |message: String| {
        let error = Error::new(ErrorKind::NotClasses, message);
        Err(error.with_hint("say how exact the number has to be: a tolerance makes ranges of it"))
    };
    let first_of = |code: u32| {
        let at = coded.codes.iter().position(|&c| c == code);
        rows[at.expect("every code occurs")]
    };
    let firsts = (0..coded.n_values).map(first_of);
    let names: Vec<String> = match goal {
        Values::Numeric(v) => {
            let whole = rows.iter().all(|&r| v[r].fract() == 0.0);
            if !options.every_value_is_a_class && (!whole || count > MOST_NUMBERED_CLASSES) {
                return not_classes(format!(
                    "expected classes: text or up to {MOST_NUMBERED_CLASSES} whole numbers, found \
                     {count} distinct numbers"
                ));
            }
            check_class_count(count)?;
            firsts.map(|r| (v[r] + 0.0).to_string()).collect()
        }
        Values::Categorical { codes, levels } => {
            if rows.len() >= 20 && count * 10 > rows.len() * 9 {
                return not_classes(format!(
                    "expected classes, found {count} different texts in {} rows",
                    rows.len()
                ));
            }
            check_class_count(count)?;
            firsts.map(|r| levels[codes[r] as usize].clone()).collect()
        }
    };
    Ok((coded.codes, names))
}

pub(crate) fn check_class_count(count: usize) -> Result<()> {
    if count <= MOST_CLASSES {
        return Ok(());
    }
    let message = format!("expected at most {MOST_CLASSES} classes, found {count}");
    Err(Error::new(ErrorKind::NotClasses, message))
}

fn check_rows(cells: usize, d: usize, n: usize) -> Result<()> {
    if n.checked_mul(d) != Some(cells) {
        let message = format!("expected {n} rows of {d} values, found {cells} values");
        return Err(Error::new(ErrorKind::Shape, message));
    }
    if cells == 0 {
        return Err(Error::new(ErrorKind::Rows, "there are no samples"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bantam_core::Tensor;
    use bantam_data::{ReadOptions, read_delimited_bytes};

    fn table(text: &str) -> Table {
        read_delimited_bytes(text.as_bytes(), &ReadOptions::default()).unwrap()
    }

    fn titanic() -> Table {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/titanic.csv");
        bantam_data::read_table(path.as_ref(), &ReadOptions::default()).unwrap()
    }

    #[test]
    fn titanic_is_typed() {
        let p = Problem::from_table(&titanic(), "Survived", &Options::default()).unwrap();
        let names: Vec<&str> = p.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(
            names,
            ["Pclass", "Sex", "Age", "SibSp", "Parch", "Fare", "Embarked"]
        );
        let left_out = p.left_out();
        let left_out: Vec<&str> = left_out.iter().map(|l| l.column.as_str()).collect();
        assert_eq!(left_out, ["PassengerId", "Name", "Ticket", "Cabin"]);
        assert_eq!(p.classes, ["0", "1"]);
        let f = p.facts();
        assert_eq!(f.class_counts, [549, 342]);
        assert_eq!(
            (f.missing_cells, f.distinct_rows, f.consistent_rows),
            (179, 764, 875)
        );
        assert!((f.irreducible_error - 16.0 / 891.0).abs() < 1e-12);
        assert!((f.entropy_bits - 0.960_708).abs() < 5e-7);
        let with = p.with_identifiers().unwrap();
        assert_eq!((with.columns.len(), with.left_out.len()), (11, 0));
        assert_eq!(with.facts().consistent_rows, 891);
        assert!(with.with_identifiers().is_none());
    }

    #[test]
    fn callers_have_the_last_word() {
        let own = |names: &[&str]| names.iter().map(|s| s.to_string()).collect();
        let columns = |exclude_identifiers, keep: &[&str], drop: &[&str]| {
            let options = Options {
                exclude_identifiers,
                keep: own(keep),
                drop: own(drop),
                ..Options::default()
            };
            Problem::from_table(&titanic(), "Survived", &options).map(|p| p.columns.len())
        };
        assert_eq!(columns(true, &["Name"], &[]).unwrap(), 8);
        assert_eq!(columns(false, &[], &["Sex"]).unwrap(), 10);
        assert_eq!(
            columns(true, &["Nam"], &[]).unwrap_err().hint(),
            Some("did you mean \"Name\"?")
        );
    }

    #[test]
    fn duplicates_and_contradictions() {
        let t = table("a,b,y\n1,x,p\n1,x,p\n1,x,q\n1,,q\n,x,q\n2,x,\n");
        let p = Problem::from_table(&t, "y", &Options::default()).unwrap();
        assert_eq!((p.rows(), p.rows_given, p.rows_without_label), (5, 6, 1));
        // The only 2 is in the row without a target, but a missing cell differs from 1.
        assert_eq!(p.columns.len(), 2);
        let f = p.facts();
        let found = (
            f.distinct_rows,
            f.duplicate_rows,
            f.consistent_rows,
            f.missing_cells,
        );
        assert_eq!(found, (3, 2, 4, 2));
        assert_eq!((f.best_guess, f.irreducible_error), (0.6, 0.2));
    }

    #[test]
    fn targets() {
        let numbers = |f: &dyn Fn(usize) -> f64| {
            let y = (0..100).map(f).collect();
            let x = (0..100).map(|i| (i % 7) as f64).collect();
            Table::new(vec![Column::numeric("x", x), Column::numeric("y", y)]).unwrap()
        };
        let texts = |f: &dyn Fn(usize) -> Option<String>| {
            let y: Vec<Option<String>> = (0..100).map(f).collect();
            let x = (0..100).map(|i| (i % 7) as f64).collect();
            let y = Column::categorical("y", &y);
            Table::new(vec![Column::numeric("x", x), y]).unwrap()
        };
        let every = Options {
            every_value_is_a_class: true,
            ..Options::default()
        };
        let default = Options::default;
        let cases = [
            (
                "few numbers",
                numbers(&|i| (i % 20) as f64),
                default(),
                Ok(20),
            ),
            ("one class", numbers(&|_| 3.0), default(), Ok(1)),
            (
                "many numbers",
                numbers(&|i| (i % 21) as f64),
                default(),
                Err(ErrorKind::NotClasses),
            ),
            ("asked for", numbers(&|i| (i % 21) as f64), every, Ok(21)),
            (
                "fractions",
                numbers(&|i| (i % 2) as f64 / 2.0),
                default(),
                Err(ErrorKind::NotClasses),
            ),
            (
                "words",
                texts(&|i| Some(format!("w{}", i % 30))),
                default(),
                Ok(30),
            ),
            (
                "names",
                texts(&|i| Some(format!("w{i}"))),
                default(),
                Err(ErrorKind::NotClasses),
            ),
            ("nothing", texts(&|_| None), default(), Err(ErrorKind::Rows)),
        ];
        for (name, table, options, expected) in cases {
            let found = Problem::from_table(&table, "y", &options);
            assert_eq!(
                found.map(|p| p.classes.len()).map_err(|e| e.kind()),
                expected,
                "{name}"
            );
        }
        let error = Problem::from_table(&table("a,y\n1,p\n1,q\n"), "y", &default()).unwrap_err();
        let text =
            "no column is left to measure; column \"a\" is left out: every cell has the same value";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn rows_and_samples() {
        let cells = [1.0, 5.0, 2.0, 5.0, 3.0, 5.0];
        let p = Problem::from_rows(&cells, 2, &[7, 3, 7], &Options::default()).unwrap();
        assert_eq!(
            (p.labels.clone(), p.classes.clone()),
            (vec![1, 0, 1], vec!["3".into(), "7".into()])
        );
        assert_eq!((p.columns.len(), p.left_out.len()), (1, 1));
        let small = Options {
            max_cells: 4,
            ..Options::default()
        };
        let p = Problem::from_rows(&cells, 2, &[7, 3, 7], &small).unwrap();
        assert_eq!((p.rows(), p.rows_given), (2, 3));
        let samples = |inputs, labels: &[i64]| Samples {
            inputs,
            labels: labels.to_vec(),
            classes: vec!["no".into(), "yes".into()],
        };
        let bytes = Tensor::new::<u8>(&[2, 1, 1, 2], vec![0, 1, 2, 1]).unwrap();
        let p = Problem::from_samples(&samples(bytes.clone(), &[1, 0]), &small).unwrap();
        assert_eq!((p.labels, p.classes[1].as_str()), (vec![1, 0], "yes"));
        let floats = bytes.cast(DType::F32);
        let p = Problem::from_samples(&samples(floats, &[1, 1]), &small).unwrap();
        assert_eq!((p.labels, p.classes), (vec![0, 0], vec!["yes".to_owned()]));
        let kind = |r: Result<Problem>| r.unwrap_err().kind();
        let rows = |cells: &[f32], labels: &[u32]| Problem::from_rows(cells, 2, labels, &small);
        assert_eq!(kind(rows(&[1.0], &[1])), ErrorKind::Shape);
        assert_eq!(kind(rows(&[], &[])), ErrorKind::Rows);
        assert_eq!(kind(rows(&[1.0, 2.0], &[1])), ErrorKind::Column);
        assert_eq!(
            kind(Problem::from_samples(&samples(bytes, &[2, 0]), &small)),
            ErrorKind::Value
        );
        let error = rows(&[1.0, f32::NAN], &[1]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "column \"x1\": row 0: expected a finite number, found NaN"
        );
    }
}
