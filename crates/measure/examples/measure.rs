//! Measures a file: `measure FILE TARGET [KEEP ...]`.

use bantam_data::{ReadOptions, read_table};
use bantam_measure::{Options, Problem, measure, problem, starting_network};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(file), Some(target)) = (args.next(), args.next()) else {
        return Err("usage: measure FILE TARGET [KEEP ...]".into());
    };
    let table = read_table(file.as_ref(), &ReadOptions::default())?;
    let mut options = problem::Options::default();
    options.keep = args.collect();
    let start = std::time::Instant::now();
    let problem = Problem::from_table(&table, &target, &options)?;
    let found = measure(&problem, &Options::default())?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{found:#?}");
    let (d, k) = (problem.columns.len(), problem.classes.len());
    println!("tree ratio {:?}", found.tree.ratio());
    println!("{:#?}", starting_network(&found, d, k, found.rows));
    println!("{seconds:.3} s");
    Ok(())
}
