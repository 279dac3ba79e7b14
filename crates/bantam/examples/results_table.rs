//! Prints finished runs as Markdown: a table of the packed files, and the whole pruning curve of each.
//!
//! `cargo run --release -p bantam --example results_table -- runs/lenet-5-*/result.json`

use bantam::results::RunResult;

fn main() {
    let runs: Vec<RunResult> = std::env::args().skip(1).map(|path| read(&path)).collect();
    if runs.is_empty() {
        eprintln!("error: expected the result.json of at least one run");
        std::process::exit(1);
    }
    table(&runs);
    for run in &runs {
        curve(run);
    }
}

fn read(path: &str) -> RunResult {
    let parsed = std::fs::read(path)
        .map_err(|e| e.to_string())
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|e| e.to_string()));
    parsed.unwrap_or_else(|e| {
        eprintln!("error: {path}: {e}");
        std::process::exit(1);
    })
}

fn error(accuracy: f64) -> f64 {
    100.0 * (1.0 - accuracy)
}

fn seed(run: &RunResult) -> u64 {
    bantam::Recipe::parse(&run.recipe).map_or(0, |r| r.seed)
}

fn table(runs: &[RunResult]) {
    println!(
        "| network | seed | dense error % | packed error % | weights left | bytes | bytes, Deep Compression's format | seconds |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for run in runs {
        let round = &run.rounds[run.chosen_round];
        println!(
            "| {} | {} | {:.2} | {:.2} | {:.2} % | {} | {} | {:.0} |",
            run.name,
            seed(run),
            error(run.baseline.accuracy),
            error(run.test.accuracy),
            100.0 * round.remaining as f64 / round.total as f64,
            run.file.bytes,
            run.file.deep_compression_bytes,
            run.stages.iter().map(|s| s.seconds).sum::<f64>(),
        );
    }
    let mut names: Vec<&str> = runs.iter().map(|r| r.name.as_str()).collect();
    names.dedup();
    for name in names {
        let of: Vec<&RunResult> = runs.iter().filter(|r| r.name == name).collect();
        if of.len() > 1 {
            let spread = |figure: &dyn Fn(&RunResult) -> f64, digits: usize| {
                let figures: Vec<f64> = of.iter().map(|r| figure(r)).collect();
                let (mean, deviation) = mean_and_deviation(&figures);
                format!("{mean:.digits$} ± {deviation:.digits$}")
            };
            println!(
                "| {name} | mean ± deviation of {} | {} | {} | | {} | {} | |",
                of.len(),
                spread(&|r| error(r.baseline.accuracy), 2),
                spread(&|r| error(r.test.accuracy), 2),
                spread(&|r| r.file.bytes as f64, 0),
                spread(&|r| r.file.deep_compression_bytes as f64, 0),
            );
        }
    }
}

/// Mean and sample standard deviation of at least two figures.
fn mean_and_deviation(figures: &[f64]) -> (f64, f64) {
    let n = figures.len() as f64;
    let mean = figures.iter().sum::<f64>() / n;
    let squares: f64 = figures.iter().map(|f| (f - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0)).sqrt())
}

fn curve(run: &RunResult) {
    println!("\n{}, seed {}, round by round:\n", run.name, seed(run));
    println!(
        "| round | weights | left % | validation error % | test error % | bytes, codebooks not tuned |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for r in &run.rounds {
        let left = 100.0 * r.remaining as f64 / r.total as f64;
        let [validation, test] = [r.validation_accuracy, r.test_accuracy].map(error);
        let chosen = if r.round == run.chosen_round {
            " (chosen)"
        } else {
            ""
        };
        println!(
            "| {}{chosen} | {} | {left:.2} | {validation:.2} | {test:.2} | {} |",
            r.round, r.remaining, r.bytes
        );
    }
}
