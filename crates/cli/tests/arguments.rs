//! Mistakes on the command line, and what options make of a recipe.

mod common;

use common::{Folder, run};

#[test]
fn mistakes_are_named() {
    let folder = Folder::new();
    folder.put(
        "r.toml",
        "schema = 1\nname = \"a\"\n[data]\npath = \"a.csv\"\n[train]\nepoch = 3\n",
    );
    folder.put(
        "good.toml",
        "schema = 1\nname = \"a\"\n[data]\npath = \"missing.csv\"\ntarget = \"y\"\n",
    );
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage: bantam"),
        (&["grw"], "'grow'"),
        (&["grow"], "<DATA>"),
        (
            &["grow", "d.csv", "--recipe", "r.toml"],
            "cannot be used with",
        ),
        (
            &["grow", "--recipe", "r.toml", "--target", "y"],
            "cannot be used with",
        ),
        (
            &["grow", "--recipe", "r.toml", "--epochs", "3"],
            "cannot be used with",
        ),
        (&["grow", "--recipe", "r.toml"], "epoch"),
        (&["grow", "--recipe", "none.toml"], "none.toml"),
        (
            &["grow", "d.csv", "--max-bytes", "8q"],
            "expected bytes such as 8192",
        ),
        (&["grow", "d.csv", "--max-drop", "3"], "expected a share"),
        (&["grow", "d.csv", "--min-accuracy", "98"], "98%"),
        (
            &["grow", "d.csv", "--hidden", "32,0"],
            "expected 1 to 65536 units",
        ),
        (&["grow", "d.csv", "--epochs", "0"], "train.epochs is 0"),
        (&["grow", "d.csv", "--task", "sort"], "possible values"),
        (
            &["grow", "d.csv", "--header", "--no-header"],
            "cannot be used with",
        ),
        (&["grow", "d.csv", "--treads", "2"], "'--threads'"),
        (
            &["measure", "d.csv", "--threads", "0"],
            "expected 1 to 4096 threads",
        ),
        (&["train"], "<RECIPE>"),
        (&["train", "none.toml"], "none.toml"),
        (&["train", "r.toml"], "epoch"),
        (&["run", "m.bantam"], "<DATA>"),
        (&["run", "m.bantam", "d.csv", "--seed", "3"], "'--seed'"),
        (&["inspect", "m.bantam", "--unseen", "zero"], "'--unseen'"),
    ];
    let before = folder.files();
    for (args, expected) in cases {
        let ran = run(folder.path(), args);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(1), ""),
            "{args:?}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains(expected), "{args:?}: {}", ran.stderr);
        assert_eq!(folder.files(), before, "{args:?} left something behind");
    }
}

#[test]
fn options_make_a_recipe() {
    let folder = Folder::new();
    let args = [
        "grow",
        "some data.csv.gz",
        "--print-recipe",
        "--target",
        "y",
        "--drop-column",
        "a,b",
        "--drop-column",
        "c",
        "--keep-column",
        "d",
        "--numeric",
        "e",
        "--categorical",
        "f",
        "--no-header",
        "--task",
        "classes",
        "--hidden",
        "32,16",
        "--epochs",
        "7",
        "--max-bytes",
        "8KB",
        "--max-drop",
        "0.5%",
        "--min-accuracy",
        "98%",
        "--seed",
        "11",
    ];
    let ran = run(folder.path(), &args);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let expected = [
        "name = \"some data.csv\"",
        "seed = 11",
        "path = \"some data.csv.gz\"",
        "target = \"y\"",
        "drop = [\"a,b\", \"c\"]",
        "keep = [\"d\"]",
        "numeric = [\"e\"]",
        "categorical = [\"f\"]",
        "header = false",
        "task = \"classes\"",
        "hidden = [32, 16]",
        "epochs = 7",
        "max_bytes = 8000",
        "max_drop = 0.005",
        "min_accuracy = 0.98",
    ];
    let lines: Vec<&str> = ran.stdout.lines().collect();
    for line in expected {
        assert!(lines.contains(&line), "{line} is not in\n{}", ran.stdout);
    }
    // What is printed is a recipe that makes itself, and --seed is the one thing to change about it.
    folder.put("recipe.toml", &ran.stdout);
    let again = run(
        folder.path(),
        &["grow", "--recipe", "recipe.toml", "--print-recipe"],
    );
    assert_eq!(again.stdout, ran.stdout);
    let args = [
        "grow",
        "--recipe",
        "recipe.toml",
        "--print-recipe",
        "--seed",
        "2",
    ];
    let other = run(folder.path(), &args);
    assert_eq!(other.stdout, ran.stdout.replace("seed = 11", "seed = 2"));
    let json = run(
        folder.path(),
        &[
            "grow",
            "--recipe",
            "recipe.toml",
            "--print-recipe",
            "--json",
        ],
    );
    assert_eq!(json.json()["train"]["epochs"], 7);
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let folder = Folder::new();
    let mut command = common::command(folder.path(), &["grow", "a.csv", "--print-recipe"]);
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), &b""[..])
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_a_failure() {
    let folder = Folder::new();
    let mut command = common::command(folder.path(), &["grow", "a.csv", "--print-recipe"]);
    command.stdout(
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap(),
    );
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with("error: standard output: No space left"),
        "{stderr}"
    );
}
