//! Tables in parts and larger than memory, and drift, run as a user would.

mod common;

use std::io::Write;

use common::{Folder, Ran, command, run};
use serde_json::Value;

fn titanic() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/titanic.csv");
    std::fs::read_to_string(path).unwrap()
}

fn done(ran: Ran) -> Ran {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran
}

/// The header and some records of the passengers' table; a record has one line.
fn some(lines: impl Fn(usize) -> bool) -> String {
    let text = titanic();
    let mut lines_of = text.lines();
    let header = lines_of.next().unwrap();
    let picked = lines_of
        .enumerate()
        .filter(|(i, _)| lines(*i))
        .map(|(_, l)| l);
    std::iter::once(header)
        .chain(picked)
        .collect::<Vec<_>>()
        .join("\n")
        + "\n"
}

fn target(args: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = args.iter().map(|a| a.to_string()).collect();
    all.extend(["--target", "Survived", "--json", "--quiet"].map(str::to_owned));
    all
}

fn json(folder: &Folder, args: &[&str]) -> Value {
    let args = target(args);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    done(run(folder.path(), &args)).json()
}

/// The table in three parts, merged in two steps and in any order, is the table.
#[test]
fn parts_merge_into_the_whole() {
    let folder = Folder::new();
    folder.put("all.csv", titanic());
    folder.put("a.csv", some(|i| i % 3 == 0));
    folder.put("b.csv", some(|i| i % 3 == 1));
    folder.put("c.csv", some(|i| i % 3 == 2));
    let all = json(&folder, &["measure", "all.csv", "--partial", "all.part"]);
    assert_eq!(all["rows"], 891);
    assert_eq!(
        all["class_counts"],
        serde_json::json!([["0", 549], ["1", 342]])
    );
    for (name, part) in [
        ("a.csv", "a.part"),
        ("b.csv", "b.part"),
        ("c.csv", "c.part"),
    ] {
        json(
            &folder,
            &["measure", name, "--partial", part, "--ruler", "all.part"],
        );
    }
    let merge = |args: &[&str]| {
        let args = [&["measure"], args, &["--json"]].concat();
        done(run(folder.path(), &args)).json()
    };
    merge(&["--partial", "cb.part", "--merge", "c.part", "b.part"]);
    assert_eq!(merge(&["--merge", "cb.part", "a.part"]), all);
    assert_eq!(merge(&["--merge", "b.part", "a.part", "c.part"]), all);
    // What is measured in memory, of the same rows and columns.
    let text = done(run(folder.path(), &["measure", "--merge", "all.part"])).stdout;
    assert!(
        text.contains("threshold sort") && text.contains("891"),
        "{text}"
    );
    // A part with a ruler of its own cannot be compared.
    json(&folder, &["measure", "a.csv", "--partial", "own.part"]);
    let ran = run(
        folder.path(),
        &["measure", "--merge", "all.part", "own.part"],
    );
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("different rulers"), "{}", ran.stderr);
}

/// Beyond the memory limit a sample is measured, and all rows are sorted.
#[test]
fn larger_than_memory() {
    let folder = Folder::new();
    let mut text = "x,z,y\n".to_owned();
    for i in 0..40_000u64 {
        let h = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        text += &format!(
            "{}.25,{},{}\n",
            h % 5000,
            h % 7,
            ["a", "b"][usize::from(h % 5000 > 2000)]
        );
    }
    folder.put("t.csv", text);
    let measure = |more: &[&str]| {
        let args = [
            &["measure", "t.csv", "--target", "y", "--json", "--quiet"],
            more,
        ]
        .concat();
        done(run(folder.path(), &args)).json()
    };
    let small = measure(&["--max-memory", "200KB"]);
    let all = &small["all_rows"];
    assert_eq!(all["rows"], 40_000);
    assert!(small["rows"].as_u64().unwrap() < 2000, "{}", small["rows"]);
    // The class follows x, so the sum of x and z changes it far less often than chance would.
    let sort = &all["threshold_sort"]["typed"];
    assert!(
        sort["changes"].as_f64().unwrap() < 0.9 * sort["null"].as_f64().unwrap(),
        "{all}"
    );
    let again = measure(&["--max-memory", "200KB", "--threads", "1"]);
    assert_eq!(again["all_rows"], *all);
    assert_eq!(measure(&[])["all_rows"], Value::Null);
    let text = run(
        folder.path(),
        &["measure", "t.csv", "--target", "y", "--max-memory", "200KB"],
    );
    assert!(done(text).stdout.contains("All rows"));
}

/// A line of a gigabyte is refused once it is longer than a record may be, long before memory is full: the
/// command may not have as much as the line.
#[test]
fn one_endless_line() {
    let folder = Folder::new();
    for (name, begin) in [
        ("line.csv", "x,y\n1,a\n2,b\n3,"),
        ("quoted.csv", "x,y\n1,a\n2,b\n\""),
        ("header.csv", "x,"),
    ] {
        let mut file = std::fs::File::create(folder.path().join(name)).unwrap();
        file.write_all(begin.as_bytes()).unwrap();
        // Sparse: it takes no room on the disk.
        file.set_len(1 << 30).unwrap();
    }
    for (line, args) in [
        (4, &["measure", "line.csv", "--target", "y"][..]),
        (4, &["measure", "quoted.csv", "--target", "y"]),
        (1, &["measure", "header.csv", "--target", "y"]),
        (
            4,
            &[
                "measure",
                "line.csv",
                "--target",
                "y",
                "--max-memory",
                "8MB",
            ],
        ),
        (
            4,
            &["measure", "quoted.csv", "--target", "y", "--partial", "p"],
        ),
        (4, &["drift", "line.csv", "line.csv"]),
        (4, &["grow", "line.csv", "--target", "y"]),
    ] {
        let mut command = command(folder.path(), args);
        if cfg!(target_os = "linux") {
            let program = command.get_program().to_owned();
            let mut limited = std::process::Command::new("sh");
            // Kilobytes of address space.
            limited.args(["-c", "ulimit -v 700000; exec \"$0\" \"$@\""]);
            limited.arg(program).args(args);
            limited.args(["--threads", "1"]).current_dir(folder.path());
            command = limited;
        }
        let ran = command.output().unwrap();
        let stderr = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(1), "{args:?}: {stderr}");
        let says = format!("{}:{line}: expected a record of at most", args[1]);
        assert!(stderr.contains(&says), "{args:?}: {stderr}");
    }
    assert!(!folder.path().join("p").exists());
}

/// What is too little to train on is measured all the same.
#[test]
fn tables_that_are_tiny() {
    let folder = Folder::new();
    let cases: [(&str, &str, &str, &str); 8] = [
        ("one row", "x,y\n1,a\n", "nothing to learn", "every row"),
        (
            "one row, an empty cell",
            "x,z,y\n,2,a\n",
            "nothing to learn",
            "every row",
        ),
        (
            "one class",
            "x,y\n1,a\n2,a\n3,a\n4,a\n5,a\n",
            "nothing to learn",
            "every row",
        ),
        (
            "one number",
            "x,y\n1,3.5\n2,3.5\n",
            "nothing to learn",
            "has 3.5",
        ),
        (
            "two rows",
            "x,y\n1,a\n2,b\n",
            "no evidence of structure",
            "no budget",
        ),
        (
            "three rows",
            "x,y\n1,a\n2,b\n3,a\n",
            "no evidence of structure",
            "no budget",
        ),
        (
            "five rows",
            "x,y\n1,a\n2,b\n3,a\n4,b\n5,a\n",
            "no evidence of structure",
            "",
        ),
        (
            "three classes",
            "x,y\n1,a\n2,b\n3,c\n",
            "no evidence of structure",
            "no budget",
        ),
    ];
    for (name, text, verdict, warns) in cases {
        folder.put("t.csv", text);
        let args = ["measure", "t.csv", "--target", "y"];
        let ran = run(folder.path(), &args);
        assert_eq!(ran.code, Some(0), "{name}: {ran:?}");
        assert!(ran.stdout.contains(verdict), "{name}: {}", ran.stdout);
        assert!(ran.stderr.contains(warns), "{name}: {}", ran.stderr);
        for bad in ["NaN", "inf"] {
            assert!(!ran.stdout.contains(bad), "{name}: {}", ran.stdout);
        }
        let asked = [&args[..], &["--json", "--quiet"]].concat();
        let found = done(run(folder.path(), &asked)).json();
        assert_eq!(found["verdict"], verdict, "{name}");
        let refused = run(folder.path(), &["grow", "t.csv", "--target", "y"]);
        if warns.is_empty() {
            assert!(found["budget"].is_object(), "{name}");
        } else {
            assert_eq!(found["budget"], Value::Null, "{name}");
            assert_eq!(refused.code, Some(1), "{name}: {refused:?}");
        }
    }
}

#[test]
fn mistakes_in_long_files() {
    let folder = Folder::new();
    let rows = |n: usize| {
        (0..n)
            .map(|i| format!("{},{}\n", i, i % 2))
            .collect::<String>()
    };
    let good = "x,y\n".to_owned() + &rows(30_000);
    folder.put("turned.csv", good.clone() + "abc,1\n" + &rows(10));
    folder.put("ragged.csv", good.clone() + "1,2,3\n" + &rows(10));
    folder.put("broken.part", "bntpart\u{1}xxxxxxxxxxxxxxxx");
    folder.put("other.part", "x,y\n1,2\n");
    folder.put("good.csv", &good);
    let before = folder.files().len();
    for (args, expected) in [
        (
            &[
                "measure",
                "turned.csv",
                "--target",
                "y",
                "--max-memory",
                "100KB",
            ][..],
            "turned.csv:30002: column \"x\": expected a number, as in the rows that the types were \
             taken from, found \"abc\"",
        ),
        (
            &[
                "measure",
                "ragged.csv",
                "--target",
                "y",
                "--max-memory",
                "100KB",
            ],
            "ragged.csv:30002: expected 2 fields, found 3",
        ),
        (
            &["measure", "--merge", "broken.part"],
            "broken.part: damaged partial result",
        ),
        (
            &["measure", "--merge", "other.part"],
            "other.part: expected a partial result",
        ),
        (
            &["measure", "--merge", "absent.part"],
            "absent.part: no such file",
        ),
        (
            &[
                "measure",
                "good.csv",
                "--target",
                "y",
                "--partial",
                "p",
                "--ruler",
                "other.part",
            ],
            "other.part: expected a partial result",
        ),
        (
            &["measure", "good.csv", "--target", "z", "--partial", "p"],
            "there is no column \"z\"",
        ),
        (&["measure"], "required"),
        (
            &["measure", "good.csv", "--merge", "p"],
            "cannot be used with",
        ),
        (
            &[
                "measure", "good.csv", "--target", "y", "--rates", "good.csv",
            ],
            "good.csv: ",
        ),
        (
            &["drift", "good.csv", "absent.csv"],
            "absent.csv: no such file",
        ),
        (
            &["drift", "good.csv", "turned.csv", "--target", "z"],
            "there is no column \"z\"",
        ),
        (&["drift", "good.csv"], "required"),
        (
            &["drift", "good.csv", "good.csv", "--alpha", "0"],
            "expected more than 0",
        ),
        (
            &["drift", "good.csv", "good.csv", "--rows", "3"],
            "expected 20 to 1000000 rows",
        ),
    ] {
        let ran = run(folder.path(), args);
        assert_eq!(ran.code, Some(1), "{args:?}: {ran:?}");
        assert!(ran.stderr.contains(expected), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{args:?}");
        assert_eq!(
            folder.files().len(),
            before,
            "{args:?} left something behind"
        );
    }
}

#[test]
fn drift_is_found_and_a_profile_is_as_good_as_its_table() {
    let folder = Folder::new();
    folder.put("ref.csv", some(|i| i % 2 == 0));
    folder.put("same.csv", some(|i| i % 2 == 1));
    // Later passengers, all of them women: what had two values has one.
    folder.put(
        "women.csv",
        some(|i| titanic().lines().nth(i + 1).unwrap().contains("female")),
    );
    let drift = |args: &[&str]| {
        let args = [&["drift"], args, &["--target", "Survived", "--quiet"]].concat();
        run(folder.path(), &args)
    };
    let same = done(drift(&["ref.csv", "same.csv", "--json", "--fail-on-drift"])).json();
    assert_eq!(same["drifted"], false, "{same:#}");
    let columns = same["columns"].as_array().unwrap();
    assert!(
        columns
            .iter()
            .any(|c| c["name"] == "Fare" && c["test"] == "ks")
    );
    assert!(
        columns
            .iter()
            .any(|c| c["name"] == "Sex" && c["test"] == "chi-square")
    );
    assert!(
        columns
            .iter()
            .any(|c| c["name"] == "Age" && c["test"] == "missing")
    );
    assert!(same["capacity"]["change"].is_number() && same["capacity"]["p"].is_number());
    let ran = drift(&["ref.csv", "women.csv", "--json", "--fail-on-drift"]);
    assert_eq!(ran.code, Some(1));
    let found = ran.json();
    assert_eq!(found["drifted"], true);
    let sex = found["columns"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == "Sex");
    assert_eq!(sex.unwrap()["drifted"], true);
    assert_eq!(drift(&["ref.csv", "women.csv", "--json"]).code, Some(0));
    // By a profile.
    done(run(
        folder.path(),
        &["drift", "ref.csv", "--save-profile", "ref.json"],
    ));
    let by_profile = drift(&["ref.json", "women.csv", "--json"]).json();
    assert_eq!(by_profile, found);
    let text = drift(&["ref.json", "women.csv"]).stdout;
    assert!(
        text.starts_with("drift") && text.contains("columns Survived, Pclass, Sex"),
        "{text}"
    );
    folder.put(
        "ref.json",
        folder
            .text("ref.json")
            .replace("\"rows\":446", "\"rows\":1"),
    );
    let ran = drift(&["ref.json", "women.csv"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr.contains("ref.json: damaged profile"),
        "{}",
        ran.stderr
    );
}

/// What `grow` will take is said before, and held against the run.
#[test]
fn budgets_are_checked() {
    let folder = Folder::new();
    folder.put("titanic.csv", titanic());
    folder.put("rates.toml", "price_per_kwh = 0.5\ncurrency = \"EUR\"\n");
    let args = [
        "measure",
        "titanic.csv",
        "--target",
        "Survived",
        "--rates",
        "rates.toml",
        "--json",
    ];
    let budget = done(run(folder.path(), &args)).json()["budget"].clone();
    for key in ["parameters", "bytes", "macs", "train_seconds", "ram_bytes"] {
        let (low, high) = (&budget[key]["low"], &budget[key]["high"]);
        assert!(
            low.as_f64().unwrap() > 0.0 && low.as_f64() < high.as_f64(),
            "{key}: {budget}"
        );
    }
    assert_eq!(budget["rates"]["currency"], "EUR");
    let args = [
        "grow",
        "titanic.csv",
        "--target",
        "Survived",
        "--epochs",
        "20",
    ];
    let ran = done(run(folder.path(), &args));
    assert!(ran.stderr.contains("budget: "), "{}", ran.stderr);
    assert!(ran.stdout.contains("budget "), "{}", ran.stdout);
    let json: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    let took = done(run(folder.path(), &json)).json()["budget"]["took"].clone();
    let took = took.as_array().unwrap();
    // Times depend on what else the machine does; sizes do not.
    for what in ["parameters", "bytes", "macs"] {
        let check = took.iter().find(|c| c["what"] == what).unwrap();
        assert_eq!(check["within"], true, "{check}");
    }
}
