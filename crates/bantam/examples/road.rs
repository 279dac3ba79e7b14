//! Scratch.
struct O;
impl bantam::watch::Observer for O {
    fn stage(&mut self, n: &str, i: usize, of: usize) {
        eprintln!("[{i}/{of}] {n}");
    }
    fn note(&mut self, t: &str) {
        eprintln!("    {t}");
    }
    fn warn(&mut self, t: &str) {
        eprintln!("    ! {t}");
    }
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    rayon::ThreadPoolBuilder::new()
        .num_threads(a[4].parse().unwrap())
        .build_global()
        .unwrap();
    let mut r = if a[1].ends_with(".toml") {
        bantam::Recipe::read(a[1].as_ref()).unwrap()
    } else {
        let mut r = bantam::default_recipe(a[1].as_ref());
        if a[2] != "-" {
            r.data.target = Some(a[2].clone());
        }
        r
    };
    r.seed = a[3].parse().unwrap();
    let t = std::time::Instant::now();
    let o = bantam::RunOptions {
        runs: a[5].clone().into(),
        fresh: a.len() > 6,
        ..Default::default()
    };
    match bantam::grow(&r, &o, &mut O) {
        Ok(x) => {
            println!(
                "seed {} baseline {:.4} test {:.4} ± {:.4} n {} bytes {} dc {} round {} parity {} {:.1}s {}",
                r.seed,
                x.baseline.accuracy,
                x.test.accuracy,
                x.test.standard_error,
                x.test.n,
                x.file.bytes,
                x.file.deep_compression_bytes,
                x.chosen_round,
                x.file.parity,
                t.elapsed().as_secs_f64(),
                x.report
            );
            for s in &x.stages {
                println!("  {:?}", s);
            }
        }
        Err(e) => println!("error: {e}\nhint: {:?}", e.hint()),
    }
}
