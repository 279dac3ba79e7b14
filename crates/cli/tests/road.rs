//! The whole road on the Titanic's passengers: data in, file out, the same answers, the same bytes.

mod common;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use bantam_data::{Fractions, ReadOptions, fit_target, read_table, split, targets};
use common::{Folder, Ran, command, run};

fn titanic() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/titanic.csv")
}

/// A folder with the data and a recipe that takes seconds.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.put("titanic.csv", std::fs::read(titanic()).unwrap());
    let args = [
        "grow",
        "titanic.csv",
        "--target",
        "Survived",
        "--epochs",
        "6",
        "--max-drop",
        "3%",
        "--seed",
        "3",
        "--print-recipe",
    ];
    let recipe = done(run(folder.path(), &args)).stdout;
    let short = [
        ("max_rounds = 24", "max_rounds = 4"),
        ("epochs = 10", "epochs = 2"),
    ];
    let short = short.iter().fold(recipe, |recipe, (from, to)| {
        assert!(recipe.contains(from), "{recipe}");
        recipe.replace(from, to)
    });
    folder.put("recipe.toml", short);
    folder
}

fn done(ran: Ran) -> Ran {
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran
}

/// Grows into `runs` and returns the bytes of the packed file.
fn grow(folder: &Folder, runs: &str, threads: &str) -> Vec<u8> {
    let args = [
        "grow",
        "--recipe",
        "recipe.toml",
        "--runs",
        runs,
        "--threads",
        threads,
        "--json",
        "--quiet",
    ];
    let ran = done(run(folder.path(), &args));
    assert_eq!(ran.stderr, "");
    folder.bytes(ran.json()["file"]["path"].as_str().unwrap())
}

#[test]
fn what_is_said_is_what_is_there() {
    let folder = folder();
    let args = [
        "grow",
        "--recipe",
        "recipe.toml",
        "--out",
        "m.bantam",
        "--json",
    ];
    let ran = done(run(folder.path(), &args));
    let r = ran.json();
    let size = folder.bytes("m.bantam").len() as u64;
    assert_eq!(r["file"]["bytes"], size);
    assert_eq!(
        folder.bytes(r["file"]["path"].as_str().unwrap()),
        folder.bytes("m.bantam")
    );
    assert!(folder.text(r["report"].as_str().unwrap()).contains("<html"));
    let names: Vec<&str> = r["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["name"].as_str().unwrap())
        .collect();
    assert_eq!((names[0], names[names.len() - 1]), ("train", "pack"));
    for stage in r["stages"].as_array().unwrap() {
        for key in ["accuracy", "nonzero", "bytes", "seconds"] {
            assert!(stage[key].is_number(), "{key} of {stage}");
        }
    }
    assert!(
        r["baseline"]["accuracy"].as_f64().unwrap() > 0.6,
        "{}",
        r["baseline"]
    );
    for text in ["[1/", "train", "round 1"] {
        assert!(
            ran.stderr.contains(text),
            "{text} is not in\n{}",
            ran.stderr
        );
    }

    // The file answers the test rows as well as training says.
    folder.put("test.csv", test_rows(3));
    let args = [
        "run",
        "m.bantam",
        "test.csv",
        "-o",
        "answers.csv",
        "--json",
        "--quiet",
    ];
    let scored = done(run(folder.path(), &args)).json();
    assert_eq!(scored["n"], r["test"]["n"]);
    assert_eq!(scored["accuracy"], r["test"]["accuracy"]);
    assert_eq!(scored["confusion"], r["test"]["confusion"]);
    // And what it prints for all passengers adds up to what it says about them.
    let ran = done(run(
        folder.path(),
        &["run", "m.bantam", "titanic.csv", "--unseen", "zero"],
    ));
    let options = ReadOptions::default();
    folder.put("all.csv", &ran.stdout);
    let told = read_table(&folder.path().join("all.csv"), &options).unwrap();
    let known = read_table(&titanic(), &options).unwrap();
    let column = |t: &bantam_data::Table| t.column("Survived").unwrap().values.clone();
    let (told, known) = (column(&told), column(&known));
    let (bantam_data::Values::Numeric(told), bantam_data::Values::Numeric(known)) = (told, known)
    else {
        panic!("Survived is 0 or 1")
    };
    let right = told.iter().zip(&known).filter(|(a, b)| a == b).count();
    let accuracy = format!("accuracy {:.1} % on 891 rows", 100.0 * right as f64 / 891.0);
    assert!(
        ran.stderr.contains(&accuracy),
        "{accuracy} is not in\n{}",
        ran.stderr
    );

    // Once more, everything is there already; people get a summary that says how to go on.
    let args = ["grow", "--recipe", "recipe.toml", "--out", "m.bantam"];
    let started = Instant::now();
    let again = done(run(folder.path(), &args));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "nothing was to be done"
    );
    for text in [
        "accuracy",
        "dense network",
        "report.html",
        "bantam run m.bantam DATA",
    ] {
        assert!(
            again.stdout.contains(text),
            "{text} is not in\n{}",
            again.stdout
        );
    }
    // The ledger of the file adds up.
    let i = done(run(folder.path(), &["inspect", "m.bantam", "--json"])).json();
    let parts = i["ledger"].as_array().unwrap().iter();
    assert_eq!(
        parts.map(|p| p["bytes"].as_u64().unwrap()).sum::<u64>(),
        size
    );
    assert_eq!(i["layers"], r["layers"]);
}

/// The lines of the passengers that were set aside for test.
fn test_rows(seed: u64) -> String {
    let table = read_table(&titanic(), &ReadOptions::default()).unwrap();
    let rows: Vec<usize> = (0..table.rows()).collect();
    let schema = fit_target(bantam_data::Task::Auto, &table, "Survived", &rows).unwrap();
    let labels = targets(&table, &schema, &rows).unwrap();
    let fractions = Fractions {
        validation: 0.16,
        test: 0.20,
    };
    let test = split(table.rows(), labels.classes(), fractions, seed)
        .unwrap()
        .test;
    let text = std::fs::read_to_string(titanic()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), table.rows() + 1, "a record has one line");
    let picked = test.iter().map(|&row| lines[row + 1]);
    let all: Vec<&str> = std::iter::once(lines[0]).chain(picked).collect();
    all.join("\n") + "\n"
}

#[test]
fn measure() {
    let folder = folder();
    let args = ["measure", "titanic.csv", "--target", "Survived", "--json"];
    let m = done(run(folder.path(), &args)).json();
    assert_eq!((&m["classes"], &m["columns"]), (&2.into(), &7.into()));
    for key in ["changes", "correct", "null"] {
        assert!(m["threshold_sort"]["typed"][key].is_number(), "{key}: {m}");
    }
    for key in ["memorise", "leaves"] {
        assert!(m["tree"][key].as_u64().unwrap() > 0, "{key}: {m}");
    }
    assert!(m["sized"]["hidden"].is_array());
    // The whole table is measured, and the published figures of its texts are met.
    let compat = &m["threshold_sort"]["compat"];
    assert_eq!(
        (&compat["changes"], &compat["correct"]),
        (&419.into(), &891.into())
    );
    let rho = m["headline"]["rho"].as_f64().unwrap();
    assert!((0.3..0.8).contains(&rho), "{rho}");
    assert_eq!(m["headline"]["structure"], true);
    let accuracy = &m["expected_accuracy"];
    let share = |key: &str| accuracy[key].as_f64().unwrap();
    assert!(share("low") < share("point") && share("point") < share("high"));
    assert!((0.78..0.88).contains(&share("point")), "{accuracy}");
    assert_eq!(m["progression"].as_array().unwrap().len(), 6);
    assert_eq!(m["difficulty"].as_array().unwrap().len(), 22);
    assert_eq!(m["ranking"][0]["column"], "Sex");
    let again = run(folder.path(), &[&args[..], &["--threads", "1"]].concat());
    let mut again = done(again).json();
    // What a run will take is timed, and depends on the threads that are there.
    again["budget"] = m["budget"].clone();
    assert!(m["budget"]["bytes"]["low"].is_number(), "{}", m["budget"]);
    assert_eq!(again, m, "figures do not depend on threads");
    let text = done(run(
        folder.path(),
        &["measure", "titanic.csv", "--target", "Survived"],
    ));
    for words in [
        "verdict",
        "threshold sort",
        "decision tree",
        "first network",
        "to expect on rows not seen",
        "not evidence that there is none",
        "not a law",
    ] {
        assert!(
            text.stdout.contains(words),
            "{words} is not in\n{}",
            text.stdout
        );
    }
    assert!(
        !folder.path().join("runs").exists(),
        "measuring leaves nothing behind"
    );
}

#[test]
fn same_seed_same_bytes() {
    let folder = folder();
    let first = grow(&folder, "a", "1");
    assert_eq!(grow(&folder, "b", "1"), first, "run again");
    assert_eq!(grow(&folder, "c", "2"), first, "on two threads");
    // Stage by stage, and then the whole, in one folder.
    for verb in ["train", "prune", "quantize", "pack"] {
        let args = [verb, "recipe.toml", "--runs", "d", "--json", "--quiet"];
        let report = done(run(folder.path(), &args)).json();
        let last = report["stages"].as_array().unwrap().last().unwrap();
        assert_eq!(last["name"], verb);
        assert!(
            folder
                .path()
                .join(report["file"].as_str().unwrap())
                .is_file(),
            "{report}"
        );
    }
    assert_eq!(grow(&folder, "d", "2"), first, "stage by stage");
}

/// When the sample is all training rows, what is left on disk makes the file that memory makes.
#[test]
fn larger_than_memory() {
    let folder = folder();
    let recipe = folder.text("recipe.toml");
    let pixels: Vec<u8> = (0..600 * 16).map(|i| (i * i % 251) as u8).collect();
    let labels: Vec<u8> = pixels.chunks(16).map(|p| u8::from(p[5] > p[9])).collect();
    folder.put("images", common::idx(&[600, 4, 4], &pixels));
    folder.put("labels", common::idx(&[600], &labels));
    let of_images = recipe
        .replace("titanic.csv", "images")
        .replace("target = \"Survived\"\n", "");
    for (name, recipe) in [("titanic", recipe), ("images", of_images)] {
        folder.put("recipe.toml", &recipe);
        let in_memory = grow(&folder, "memory", "1");
        let limit = "max_memory = 4294967296";
        assert!(recipe.contains(limit), "{recipe}");
        folder.put("recipe.toml", recipe.replace(limit, "max_memory = 1000"));
        let args = ["quantize", "recipe.toml", "--runs", "disk"];
        let said = done(run(folder.path(), &args)).stderr;
        assert!(said.contains("left on disk"), "{said}");
        assert_eq!(grow(&folder, "disk", "2"), in_memory, "{name}");
        let left = folder.files();
        let left = left.keys().filter(|p| p.ends_with("0-data/rows"));
        assert_eq!(left.count(), 0, "encoded rows are removed in the end");
    }
}

#[test]
#[cfg(unix)]
fn killed_and_resumed() {
    use std::os::unix::process::ExitStatusExt;
    let folder = folder();
    let started = Instant::now();
    let whole = grow(&folder, "whole", "1");
    let time = started.elapsed();
    let mut rng = bantam_data::Rng::new(7, 0);
    let mut kills = 0;
    for runs in ["killed-a", "killed-b", "killed-c", "killed-d"] {
        let args = [
            "grow",
            "--recipe",
            "recipe.toml",
            "--runs",
            runs,
            "--threads",
            "1",
            "--quiet",
        ];
        for _ in 0..20 {
            let mut command = command(folder.path(), &args);
            let mut child = command.stdout(Stdio::null()).spawn().unwrap();
            std::thread::sleep(time.mul_f64(0.05 + 0.5 * rng.uniform()));
            child.kill().unwrap();
            match child.wait().unwrap().signal() {
                Some(9) => kills += 1,
                _ => break,
            }
        }
        assert_eq!(
            grow(&folder, runs, "1"),
            whole,
            "{runs}, {kills} kills so far"
        );
    }
    assert!(kills > 0, "every run was done before it could be killed");
}

/// A limit on the size of files stands for a full disk: the write fails, at one stage or another.
#[test]
#[cfg(unix)]
fn a_disk_that_is_full_and_then_is_not() {
    let folder = folder();
    let whole = grow(&folder, "whole", "1");
    let mut stopped_at = std::collections::BTreeSet::new();
    for blocks in ["1", "2", "20", "100"] {
        let limited = "trap '' XFSZ; ulimit -f $0; exec \"$@\"";
        let bantam = env!("CARGO_BIN_EXE_bantam");
        let args = [
            "-c",
            limited,
            blocks,
            bantam,
            "grow",
            "--recipe",
            "recipe.toml",
        ];
        let output = std::process::Command::new("sh")
            .args(args)
            .args(["--runs", "limited", "--quiet"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{blocks}: {said}");
        assert!(said.starts_with("error: limited/"), "{blocks}: {said}");
        assert!(said.contains("hint: make room"), "{blocks}: {said}");
        stopped_at.insert(said.lines().next().unwrap_or_default().to_owned());
        for (name, _) in folder.files() {
            assert_ne!(name.extension(), Some("tmp".as_ref()), "{blocks}: {said}");
        }
    }
    assert!(stopped_at.len() >= 3, "{stopped_at:#?}");
    assert_eq!(grow(&folder, "limited", "1"), whole, "{stopped_at:#?}");
}

#[test]
fn accuracy_is_preferred_where_asked_for() {
    let folder = folder();
    let recipe = folder.text("recipe.toml");
    let wish = [
        ("max_bytes = 0", "max_bytes = 330"),
        ("prefer = \"size\"", "prefer = \"accuracy\""),
    ];
    let recipe = wish.iter().fold(recipe, |recipe, (from, to)| {
        assert!(recipe.contains(from), "{recipe}");
        recipe.replace(from, to)
    });
    folder.put("recipe.toml", recipe);
    let file = grow(&folder, "runs", "2");
    assert!(file.len() <= 330, "{} bytes", file.len());
    let mut tried = Vec::new();
    let mut chosen = None;
    for (name, bytes) in folder.files() {
        let name = name.display().to_string();
        let json = || serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
        if name.contains("4-quantize/") && name.ends_with(".json") {
            tried.push(json());
        } else if name.ends_with("result.json") {
            chosen = json()["stages"].as_array().unwrap().last().cloned();
        }
    }
    assert!(tried.len() > 3, "{tried:?}");
    let fit = tried.iter().filter(|t| t["bytes"].as_u64() <= Some(330));
    let best = fit.map(|t| t["validation_accuracy"].as_f64().unwrap());
    let chosen = chosen.unwrap()["validation_accuracy"].as_f64().unwrap();
    assert_eq!(best.fold(0.0, f64::max), chosen, "{tried:?}");
}

#[test]
fn budgets_that_cannot_be_met_are_refused() {
    let folder = folder();
    let recipe = folder.text("recipe.toml");
    let cases = [
        ("max_bytes = 0", "max_bytes = 20", "within 20 bytes"),
        (
            "min_accuracy = 0.0",
            "min_accuracy = 0.999",
            "the budget asks for 0.999",
        ),
    ];
    for (from, to, message) in cases {
        folder.put("tight.toml", recipe.replace(from, to));
        let args = [
            "grow",
            "--recipe",
            "tight.toml",
            "--out",
            "tight.bantam",
            "--quiet",
        ];
        let ran = run(folder.path(), &args);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(1), ""),
            "{to}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains(message), "{to}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("hint: the nearest point"),
            "{to}: {}",
            ran.stderr
        );
        assert!(!folder.path().join("tight.bantam").exists());
    }
}
