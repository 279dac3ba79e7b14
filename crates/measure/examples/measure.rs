//! Measures a file: `measure FILE TARGET [KEEP ...]`; TARGET is `-` for images.

use bantam_data::{Dataset, ReadOptions, load};
use bantam_measure::{Options, Problem, measure, problem, starting_network};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(file), Some(target)) = (args.next(), args.next()) else {
        return Err("usage: measure FILE TARGET [KEEP ...]".into());
    };
    let mut options = problem::Options::default();
    options.keep = args.collect();
    let named = (target != "-").then_some(target.as_str());
    let loaded = load(file.as_ref(), named, &ReadOptions::default())?;
    let start = std::time::Instant::now();
    let problem = match &loaded.train {
        Dataset::Table(table) => Problem::from_table(table, &target, &options)?,
        Dataset::Samples(samples) => Problem::from_samples(samples, &options)?,
    };
    let found = measure(&problem, &Options::default())?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{:#?}\n{:#?}", found.threshold_sort, found.tree);
    println!("{:?}\n{:#?}", found.facts, found.left_out);
    let (d, k) = (problem.columns.len(), problem.classes.len());
    let tree = &found.tree;
    println!(
        "rows {} of {}, {d} columns, {k} classes",
        found.rows, found.rows_given
    );
    println!(
        "tree {} of {}, needed {}, ratio {:?}",
        tree.memorise,
        tree.rows,
        tree.needed.splits,
        tree.ratio()
    );
    println!("{:#?}", starting_network(&found, d, k, found.rows_given));
    println!("{seconds:.3} s");
    Ok(())
}
