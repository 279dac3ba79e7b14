//! How long the estimators take where there are many rows.
//!
//! ```sh
//! cargo bench -p bantam-measure --bench scale                     # made-up data: 10 million x 20, 1 million x 20
//! cargo bench -p bantam-measure --bench scale -- --rows 1000000   # another size
//! cargo bench -p bantam-measure --bench scale -- x.npy y.npy      # data of one's own, JSON on stdout
//! cargo bench -p bantam-measure --bench scale -- t.parquet TARGET # a file, against its decoding alone
//! ```
//!
//! Each row has the median and the least of its runs, and the least time on all processors. Keep other work off the machine.

use std::path::Path;
use std::time::Instant;

use bantam_core::Data;
use bantam_data::{Column, ReadOptions, Sampling, Table, hash, read_npy, sample_table};
use bantam_measure::partial::Memory;
use bantam_measure::{
    Options, Partial, Problem, Ruler, measure_tree, problem, sum_sort, threshold_sort,
};

/// As the program has it: the first touch of a page is a part of every time here.
#[global_allocator]
static ALLOCATOR: bantam_kernels::LargePages = bantam_kernels::LargePages;

const COLUMNS: usize = 20;
const RUNS: usize = 3;
const FOLDS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Cargo passes its own `--bench`.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => made_up(10_000_000, 1_000_000),
        ["--rows", n] => made_up(n.parse()?, n.parse()?),
        [x, y] if x.ends_with(".npy") => arrays(Path::new(x), Path::new(y))?,
        [file, target] => from_file(Path::new(file), target)?,
        _ => return Err("see the beginning of benches/scale.rs".into()),
    }
    Ok(())
}

/// Seconds of several runs.
struct Times {
    median: f64,
    least: f64,
    /// On all processors, the least of the runs; NaN where the system does not tell.
    cpu: f64,
}

fn time<T>(mut run: impl FnMut() -> T) -> Times {
    let mut seconds = Vec::new();
    let mut cpu = f64::INFINITY;
    for _ in 0..RUNS {
        let (begin, used) = (Instant::now(), cpu_seconds());
        std::hint::black_box(run());
        seconds.push(begin.elapsed().as_secs_f64());
        cpu = cpu.min(cpu_seconds() - used);
    }
    seconds.sort_by(f64::total_cmp);
    Times {
        median: seconds[RUNS / 2],
        least: seconds[0],
        cpu,
    }
}

/// What this process has used of all processors, in steps of a hundredth of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name of the program, which may have spaces.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: Option<Vec<f64>> = ticks.map(|t| t.parse().ok()).collect();
    match ticks {
        Some(t) if t.len() == 2 => (t[0] + t[1]) / 100.0,
        _ => f64::NAN,
    }
}

fn row(name: &str, rows: usize, t: Times) {
    let (median, least, cpu) = (t.median, t.least, t.cpu);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "{name:<28} {rows:>10} rows x {COLUMNS}  median {median:8.3} s  least {least:8.3} s  cpu {cpu:7.2} s  {threads} threads"
    );
}

/// Uniform numbers; the class follows one column and a half of another, with one label in ten turned.
fn table(n: usize) -> (Vec<Vec<f64>>, Vec<u32>) {
    // Away from the seeds that samples are taken by, which are hashes of the row as well.
    let bits = |seed: u64, i: usize| hash((1 << 40) + seed, i as u64);
    let uniform = |seed: u64, i: usize| (bits(seed, i) >> 11) as f64 / (1u64 << 53) as f64;
    let columns: Vec<Vec<f64>> = (0..COLUMNS)
        .map(|c| (0..n).map(|i| uniform(c as u64, i)).collect())
        .collect();
    let class = |i: usize| {
        let rule = columns[0][i] + columns[1][i] / 2.0 > 0.75;
        u32::from(rule ^ (uniform(99, i) < 0.1))
    };
    let labels = (0..n).map(class).collect();
    (columns, labels)
}

fn of(columns: Vec<Vec<f64>>, labels: &[u32]) -> Problem {
    let named = columns.into_iter().enumerate();
    let mut all: Vec<Column> = named
        .map(|(i, c)| Column::numeric(format!("x{i}"), c))
        .collect();
    all.push(Column::numeric(
        "y",
        labels.iter().map(|&l| f64::from(l)).collect(),
    ));
    let table = Table::new(all).expect("columns of one length");
    let mut options = problem::Options::default();
    options.exclude_identifiers = false;
    Problem::from_table(&table, "y", &options).expect("classes")
}

fn made_up(sort_rows: usize, tree_rows: usize) {
    let (columns, labels) = table(sort_rows);
    let parts: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    row(
        "sort of plain sums",
        sort_rows,
        time(|| sum_sort(&parts, &labels, 2)),
    );
    let p = of(columns, &labels);
    row(
        "threshold sort, typed",
        sort_rows,
        time(|| threshold_sort(&p, 0, 0)),
    );
    row(
        "the same, 20 shuffles",
        sort_rows,
        time(|| threshold_sort(&p, 20, 0)),
    );
    drop(p);
    let (columns, labels) = table(tree_rows);
    let p = of(columns, &labels);
    row(
        "tree, 256 bins",
        tree_rows,
        time(|| measure_tree(&p, &whole(FOLDS))),
    );
    row(
        "one tree, 256 bins",
        tree_rows,
        time(|| measure_tree(&p, &whole(0))),
    );
}

/// A tree of all rows, in bins, without shuffles, and its cross-validation.
fn whole(folds: usize) -> Options {
    let mut options = Options::default();
    options.folds = folds;
    options.permutations = 0;
    options.max_rows = usize::MAX;
    options.max_cells = usize::MAX;
    options.exact_rows = 0;
    options
}

/// The same estimators on `x: [n, d]` of doubles and `y: [n]` of whole numbers.
fn arrays(x: &Path, y: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let (x, y) = (read_npy(x)?, read_npy(y)?);
    let (Data::F64(values), Data::I64(labels), &[n, d]) = (x.data(), y.data(), x.shape()) else {
        return Err("expected doubles of two axes, and 64-bit integers".into());
    };
    let column = |c: usize| (0..n).map(|r| values[r * d + c]).collect();
    let columns: Vec<Vec<f64>> = (0..d).map(column).collect();
    let labels: Vec<u32> = labels.iter().map(|&l| l as u32).collect();
    let classes = labels.iter().max().map_or(0, |&l| l as usize + 1);
    let parts: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    let found = sum_sort(&parts, &labels, classes);
    let plain = time(|| sum_sort(&parts, &labels, classes));
    let p = of(columns, &labels);
    let typed = time(|| threshold_sort(&p, 0, 0));
    let times = |name: &str, t: &Times| {
        let (median, least, cpu) = (t.median, t.least, t.cpu);
        format!("\"{name}\": {{\"median\": {median}, \"least\": {least}, \"cpu\": {cpu}}}")
    };
    print!(
        "{{\"rows\": {n}, \"changes\": {}, \"correct\": {}, {}, {}",
        found.changes,
        found.correct,
        times("plain", &plain),
        times("typed", &typed)
    );
    if std::env::var_os("SCALE_SORT_ONLY").is_none() {
        let leaves = measure_tree(&p, &whole(0)).leaves;
        let one = time(|| measure_tree(&p, &whole(0)));
        let folds = time(|| measure_tree(&p, &whole(FOLDS)));
        let (one, folds) = (times("tree", &one), times("folds", &folds));
        print!(", {one}, {folds}, \"leaves\": {leaves}");
    }
    println!("}}");
    Ok(())
}

/// Does nothing with the cells of a file.
struct Nothing;

impl bantam_data::Blocks for Nothing {
    type Block = ();

    fn cells(
        &self,
        _: &mut (),
        _: usize,
        _: usize,
        cells: &bantam_data::ChunkColumn,
    ) -> bantam_data::Result<()> {
        std::hint::black_box(cells);
        Ok(())
    }

    fn done(&self, _: (), _: usize) -> bantam_data::Result<()> {
        Ok(())
    }
}

/// All rows of a file, beside reading them and doing nothing.
fn from_file(path: &Path, target: &str) -> Result<(), Box<dyn std::error::Error>> {
    let options = ReadOptions::default();
    let sampling = Sampling {
        most: 100_000,
        seed: 0,
        target: Some(target),
    };
    let begin = Instant::now();
    let sample = sample_table(path, &options, sampling)?;
    println!("sample      {:8.3} s", begin.elapsed().as_secs_f64());
    let mut made = problem::Options::default();
    made.exclude_identifiers = false;
    let p = Problem::from_table(&sample.table, target, &made)?;
    let ruler = Ruler::fit(&p.columns, 0);
    let mut layout = ruler.layout();
    layout
        .columns
        .extend(bantam_data::Layout::of(&sample.table, &[target])?.columns);
    let decode = time(|| {
        bantam_data::for_each_block(path, &options, &layout, &Nothing)
            .expect("the file has been read before")
    });
    println!(
        "decoding    median {:8.3} s  least {:8.3} s  cpu {:7.2} s",
        decode.median, decode.least, decode.cpu
    );
    let memory = Memory {
        max_bytes: 512 << 20,
    };
    let sort = time(|| {
        let all = Partial::read(path, &options, (&sample, target), ruler.clone(), memory);
        let all = all.expect("the file has been read before");
        all.threshold_sort(0, 0)
            .expect("in memory or in temporary files")
    });
    println!(
        "and sorting median {:8.3} s  least {:8.3} s  cpu {:7.2} s",
        sort.median, sort.least, sort.cpu
    );
    Ok(())
}
