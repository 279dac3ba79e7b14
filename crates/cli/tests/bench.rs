//! `bantam bench`: what it prints and keeps, and what it refuses.

mod common;

use common::{Folder, array_model, npy, npz, run, table_model};

const SHORT: [&str; 2] = ["--seconds", "0.002"];

fn bench(folder: &Folder, args: &[&str]) -> common::Ran {
    run(folder.path(), &[&["bench"], args, &SHORT].concat())
}

#[test]
fn two_networks_in_turns() {
    let folder = Folder::new();
    folder.put("a.bantam", table_model());
    folder.put("b.bantam", array_model());
    let args = [
        "a.bantam",
        "--against",
        "b.bantam",
        "--batch",
        "1,4",
        "--threads",
        "1,2",
    ];
    let told = bench(&folder, &args);
    assert_eq!(told.code, Some(0), "{told:?}");
    for word in ["GFLOP/s", "x first", "a.bantam", "b.bantam", "peak memory"] {
        let linux_only = word == "peak memory" && !cfg!(target_os = "linux");
        assert!(linux_only || told.stdout.contains(word), "{word}: {told:?}");
    }
    let json = bench(&folder, &[&args[..], &["--json", "--quiet"]].concat());
    assert_eq!((json.code, json.stderr.as_str()), (Some(0), ""));
    let json = json.json();
    let runs = json["runs"].as_array().unwrap();
    let seen: Vec<(u64, u64, &str)> = runs
        .iter()
        .map(|r| {
            let number = |key: &str| r[key].as_u64().unwrap();
            (
                number("threads"),
                number("batch"),
                r["model"].as_str().unwrap(),
            )
        })
        .collect();
    let both = |threads, batch| [(threads, batch, "a.bantam"), (threads, batch, "b.bantam")];
    assert_eq!(
        seen,
        [both(1, 1), both(1, 4), both(2, 1), both(2, 4)].concat()
    );
    assert!(
        runs.iter()
            .all(|r| r["layers"].as_array().unwrap().is_empty())
    );
    assert!(json["models"][0]["open_seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn kernels_are_kept_for_run() {
    let folder = Folder::new();
    let args = ["--arch", "lenet-300-100", "--threads", "1"];
    let layers = bench(&folder, &[&args[..], &["--layers"]].concat());
    assert_eq!(layers.code, Some(0), "{layers:?}");
    for word in ["dense1", "of time", "kernels tried", "packed"] {
        assert!(layers.stdout.contains(word), "{word}: {layers:?}");
    }
    let kept = || {
        let files = folder.files();
        let is_kept = |p: &&std::path::PathBuf| p.extension().is_some_and(|e| e == "json");
        files.keys().filter(is_kept).cloned().collect::<Vec<_>>()
    };
    assert_eq!(kept().len(), 1);
    // `run` tells of a file that is of no use and answers all the same.
    folder.put("m.bantam", array_model());
    folder.put("x.npy", npy(&[1, 3], &[0.0, 0.0, 1.0]));
    let answer = ["run", "m.bantam", "x.npy", "--threads", "1"];
    let before = run(folder.path(), &answer);
    assert!(!before.stderr.contains("kernel choices"), "{before:?}");
    std::fs::write(&kept()[0], "{").unwrap();
    let after = run(folder.path(), &answer);
    assert_eq!((after.code, &after.stdout), (Some(0), &before.stdout));
    assert!(
        after.stderr.contains("note: ") && after.stderr.contains("kernel choices are left out")
    );
    let none = Folder::new();
    assert_eq!(
        bench(&none, &[&args[..], &["--no-cache"]].concat()).code,
        Some(0)
    );
    assert!(none.files().is_empty());
}

#[test]
fn arrays_are_fed_as_they_are() {
    let folder = Folder::new();
    folder.put("m.bantam", array_model());
    folder.put("x.npz", npz(&[("x", npy(&[5, 3], &[0.5; 15]))]));
    let ran = bench(&folder, &["m.bantam", "--inputs", "x.npz", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.json()["runs"][0]["batch"], 5);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let folder = Folder::new();
    folder.put("m.bantam", array_model());
    folder.put("cut.bantam", &array_model()[..40]);
    folder.put("x.npy", npy(&[1, 4], &[0.0; 4]));
    for (args, word) in [
        (vec![], "MODEL"),
        (vec!["none.bantam"], "none.bantam: "),
        (vec!["cut.bantam"], "cut.bantam: "),
        (
            vec!["m.bantam", "--arch", "lenet-300-100"],
            "leave --arch out",
        ),
        (
            vec!["--arch", "lenet-300-10"],
            "did you mean lenet-300-100?",
        ),
        (
            vec!["m.bantam", "--batch", "0"],
            "expected 1 to 1048576 samples",
        ),
        (vec!["m.bantam", "--batch", "1,x"], "found \"x\""),
        (
            vec!["m.bantam", "--threads", "1,0"],
            "expected 1 to 4096 threads",
        ),
        (
            vec!["m.bantam", "--axis", "t=9"],
            "no input has an axis called \"t\"",
        ),
        (vec!["m.bantam", "--axis", "t"], "expected NAME=SIZE"),
        (
            vec!["m.bantam", "--inputs", "x.npy"],
            "x.npy: input \"x\": expected f32 [n, 3], found f32 [1, 4]",
        ),
        (
            vec!["m.bantam", "--inputs", "x.npy", "--batch", "2"],
            "cannot be used with",
        ),
    ] {
        let ran = bench(&folder, &args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{args:?}");
        assert!(ran.stderr.contains(word), "{args:?}: {ran:?}");
    }
    let several = run(folder.path(), &["inspect", "m.bantam", "--threads", "1,2"]);
    assert_eq!(several.code, Some(1));
    assert!(
        several.stderr.contains("bench takes several"),
        "{several:?}"
    );
}
