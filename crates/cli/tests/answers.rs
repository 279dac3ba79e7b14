//! `bantam run` and `bantam inspect` on networks whose answers are known.

mod common;

use common::{Folder, Ran, run, run_with_stdin};

const ROWS: &str = "name,sex,age,survived\nA,male,30,yes\nB,female,20,no\nC,female,,yes\n";
const ANSWERS: &str = "survived,p_no,p_yes\n\
    yes,0.11920292,0.8807971\n\
    no,0.7310586,0.26894143\n\
    no,0.5,0.5\n";
const NOTICE: &str = "warning: columns that the network does not use are ignored: \"name\"\n";
const SCORE: &str = "accuracy 66.7 % on 3 rows, standard error 27.2 %\n";

fn folder() -> Folder {
    let folder = Folder::new();
    folder.put("m.bantam", common::table_model());
    folder.put("number.bantam", common::number_model());
    folder.put("image.bantam", common::image_model());
    folder.put("array.bantam", common::array_model());
    folder.put("rows.csv", ROWS);
    folder
}

fn done(ran: Ran) -> Ran {
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran
}

#[test]
fn tables() {
    let folder = folder();
    let ran = done(run(folder.path(), &["run", "m.bantam", "rows.csv"]));
    assert_eq!(ran.stdout, ANSWERS);
    assert_eq!(ran.stderr, format!("{NOTICE}{SCORE}"));
    let ran = done(run(
        folder.path(),
        &["run", "m.bantam", "rows.csv", "--quiet"],
    ));
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (ANSWERS, ""));
    let ran = done(run_with_stdin(
        folder.path(),
        &["run", "m.bantam", "-"],
        ROWS.as_bytes(),
    ));
    assert_eq!(ran.stdout, ANSWERS);

    folder.put("rows.csv.gz", common::gzip(ROWS.as_bytes()));
    let ran = done(run(
        folder.path(),
        &["run", "m.bantam", "rows.csv.gz", "-o", "out.csv"],
    ));
    assert_eq!(
        (ran.stdout.as_str(), folder.text("out.csv").as_str()),
        ("", ANSWERS)
    );

    // Without the target there is nothing to score, and columns may come in any order.
    folder.put("plain.tsv", "age\tsex\n30\tmale\n20\tfemale\n\tfemale\n");
    let ran = done(run(folder.path(), &["run", "m.bantam", "plain.tsv"]));
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (ANSWERS, ""));
    folder.put("header.csv", "age,sex,survived\n");
    let ran = done(run(
        folder.path(),
        &["run", "m.bantam", "header.csv", "--header"],
    ));
    assert_eq!(ran.stdout, "survived,p_no,p_yes\n");
}

#[test]
fn parquet() {
    let folder = folder();
    let ages = [Some(30.0), Some(20.0), None];
    let bytes = common::parquet(&ages, &["male", "female", "female"]);
    folder.put("rows.parquet", bytes);
    let ran = done(run(folder.path(), &["run", "m.bantam", "rows.parquet"]));
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (ANSWERS, ""));
}

#[test]
fn json() {
    let folder = folder();
    let ran = done(run(
        folder.path(),
        &["run", "m.bantam", "rows.csv", "--json", "--quiet"],
    ));
    let lines: Vec<serde_json::Value> = ran
        .stdout
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0]["survived"], "yes");
    assert_eq!(lines[2]["p_no"], 0.5);
    assert_eq!((&lines[3]["rows"], &lines[3]["n"]), (&3.into(), &3.into()));
    assert_eq!(lines[3]["accuracy"], 2.0 / 3.0);

    let args = ["run", "m.bantam", "rows.csv", "--json", "-o", "out.csv"];
    let ran = done(run(folder.path(), &args));
    assert_eq!(ran.json()["confusion"], serde_json::json!([[1, 0], [1, 1]]));
    assert_eq!(folder.text("out.csv"), ANSWERS);
    let args = ["run", "m.bantam", "rows.csv", "-o", "out.jsonl"];
    done(run(folder.path(), &args));
    assert!(
        folder
            .text("out.jsonl")
            .starts_with("{\"survived\":\"yes\",\"p_no\":0.11920292")
    );
}

#[test]
fn unseen_categories_can_be_zeros() {
    let folder = folder();
    folder.put("odd.csv", "age,sex\n30,male\n20,other\n");
    let ran = done(run(
        folder.path(),
        &["run", "m.bantam", "odd.csv", "--unseen", "zero"],
    ));
    assert!(
        ran.stdout.ends_with("\nno,0.7310586,0.26894143\n"),
        "{}",
        ran.stdout
    );
}

#[test]
fn numbers() {
    let folder = folder();
    folder.put(
        "prices.csv",
        "age,sex,price\n30,male,100\n31.5,male,110\n,male,120\n",
    );
    let ran = done(run(folder.path(), &["run", "number.bantam", "prices.csv"]));
    assert_eq!(ran.stdout, "price\n100\n115\n100\n");
    assert!(
        ran.stderr.starts_with("R² -1.125 on 3 rows"),
        "{}",
        ran.stderr
    );
}

#[test]
fn many_rows_are_answered_in_order() {
    let folder = folder();
    let row = |i: usize| format!("{},{}\n", i % 90, ["male", "female"][i % 2]);
    let rows: String = (0..1000).map(row).collect();
    folder.put("many.csv", format!("age,sex\n{rows}"));
    let ran = done(run(
        folder.path(),
        &["run", "m.bantam", "many.csv", "--threads", "2"],
    ));
    let lines: Vec<&str> = ran.stdout.lines().skip(1).collect();
    assert_eq!(lines.len(), 1000);
    for (i, line) in lines.iter().enumerate() {
        let logit = (i % 90) as f64 / 10.0 - 3.0 + if i % 2 == 0 { 2.0 } else { 0.0 };
        let p: f64 = line.rsplit(',').next().unwrap().parse().unwrap();
        assert!(
            (p - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-6,
            "row {i}: {line}"
        );
    }
}

#[test]
fn images() {
    let folder = folder();
    let (bright, dark) = ([255, 0, 0, 0], [0, 255, 255, 255]);
    folder.put("flat/b.png", common::png(2, &bright));
    folder.put("flat/a.png", common::png(2, &dark));
    let ran = done(run(folder.path(), &["run", "image.bantam", "flat"]));
    let answers = "file,survived,p_no,p_yes\nflat/a.png,no,0.7310586,0.26894143\n\
        flat/b.png,yes,0.26894143,0.7310586\n";
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (answers, ""));
    let ran = done(run(folder.path(), &["run", "image.bantam", "flat/b.png"]));
    assert!(ran.stdout.contains("\nflat/b.png,yes,"), "{}", ran.stdout);
    // Folders of classes are scored.
    folder.put("classes/yes/1.png", common::png(2, &bright));
    folder.put("classes/no/2.png", common::png(2, &bright));
    let ran = done(run(folder.path(), &["run", "image.bantam", "classes"]));
    assert!(
        ran.stderr.starts_with("accuracy 50.0 % on 2 rows"),
        "{}",
        ran.stderr
    );

    let pixels = [bright, dark].concat();
    let expected = "survived,p_no,p_yes\nyes,0.26894143,0.7310586\nno,0.7310586,0.26894143\n";
    folder.put("digits", common::idx(&[2, 2, 2], &pixels));
    let ran = done(run(folder.path(), &["run", "image.bantam", "digits"]));
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (expected, ""));
    folder.put(
        "packed/digits.gz",
        common::gzip(&common::idx(&[2, 2, 2], &pixels)),
    );
    let ran = done(run(
        folder.path(),
        &["run", "image.bantam", "packed/digits.gz"],
    ));
    assert_eq!(ran.stdout, expected);
}

#[test]
fn arrays() {
    let folder = folder();
    folder.put(
        "x.npy",
        common::npy(&[2, 3], &[9.0, 9.0, 1.0, 9.0, 9.0, -1.0]),
    );
    let ran = done(run(folder.path(), &["run", "array.bantam", "x.npy"]));
    let expected = "survived,p_no,p_yes\nyes,0.26894143,0.7310586\nno,0.7310586,0.26894143\n";
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (expected, ""));
    let x = common::npy(&[2, 3], &[9.0, 9.0, 1.0, 9.0, 9.0, -1.0]);
    folder.put("x.npz", common::npz(&[("x", x.clone()), ("other", x)]));
    let ran = done(run(folder.path(), &["run", "array.bantam", "x.npz"]));
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (expected, ""));
}

#[test]
fn files_that_are_no_files_are_written_to() {
    let folder = folder();
    let ran = done(run(
        folder.path(),
        &["run", "m.bantam", "rows.csv", "-o", "/dev/null"],
    ));
    assert_eq!(ran.stdout, "");
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
}

#[test]
fn inspect() {
    let folder = folder();
    let ran = done(run(folder.path(), &["inspect", "m.bantam", "--json"]));
    let i = ran.json();
    let size = folder.bytes("m.bantam").len() as u64;
    assert_eq!(i["bytes"], size);
    let parts = i["ledger"].as_array().unwrap();
    assert!(parts.iter().all(|p| p["part"].is_string()));
    assert_eq!(
        parts
            .iter()
            .map(|p| p["bytes"].as_u64().unwrap())
            .sum::<u64>(),
        size
    );
    assert_eq!(
        (&i["parameters"], &i["nonzero"], &i["macs"]),
        (&8.into(), &2.into(), &6.into())
    );
    let layer = serde_json::json!({
        "name": "dense", "op": i["layers"][0]["op"], "shape": [2], "parameters": 8, "nonzero": 2,
        "macs": 6, "bits": 32
    });
    assert_eq!(i["layers"], serde_json::json!([layer]));
    assert_eq!(
        i["input"]["columns"][1]["categories"],
        serde_json::json!(["female", "male"])
    );
    assert_eq!(i["target"]["classes"], serde_json::json!(["no", "yes"]));

    let ran = done(run(folder.path(), &["inspect", "m.bantam"]));
    for text in [
        "8, of which 2 are not 0",
        "sex: one of female, male",
        "survived: one of no, yes",
    ] {
        assert!(
            ran.stdout.contains(text),
            "{text} is not in\n{}",
            ran.stdout
        );
    }
    let ran = done(run(folder.path(), &["inspect", "m.bantam", "--dump"]));
    assert!(
        ran.stdout.starts_with("graph \"one-layer\"\n"),
        "{}",
        ran.stdout
    );
}
