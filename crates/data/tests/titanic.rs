//! The whole way from a real file to batches.

use std::path::Path;

use bantam_data::*;

fn titanic() -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/titanic.csv");
    load(&path, Some("Survived"), &ReadOptions::default()).unwrap()
}

fn table() -> Table {
    match titanic().train {
        Dataset::Table(table) => table,
        Dataset::Samples(_) => panic!("a table"),
    }
}

#[test]
fn is_read() {
    let table = table();
    assert_eq!((table.rows(), table.columns().len()), (891, 12));
    let missing: usize = table.columns().iter().map(|c| c.values.missing()).sum();
    assert_eq!(missing, 866);
    let kinds: String = table
        .columns()
        .iter()
        .map(|c| {
            if matches!(c.values, Values::Numeric(_)) {
                'n'
            } else {
                'c'
            }
        })
        .collect();
    assert_eq!(kinds, "nnnccnnncncc");
    assert!(titanic().notices.is_empty());
}

#[test]
fn identifiers_are_left_out() {
    let found: Vec<String> = identifiers(&table(), "Survived")
        .iter()
        .map(|l| l.to_string())
        .collect();
    assert_eq!(
        found,
        [
            "column \"PassengerId\" is left out: an identifier: whole numbers that count the rows",
            "column \"Name\" is left out: an identifier: 891 different values in 891 cells",
            "column \"Ticket\" is left out: too many categories: 681 in 891 cells",
            "column \"Cabin\" is left out: too many categories: 147 in 204 cells",
        ]
    );
}

#[test]
fn becomes_batches() {
    let table = table();
    let (kept, _) = features(&table, "Survived", &[], &[]).unwrap();
    assert_eq!(
        kept,
        ["Pclass", "Sex", "Age", "SibSp", "Parch", "Fare", "Embarked"]
    );
    let all: Vec<usize> = (0..table.rows()).collect();
    let target = fit_target(Task::Auto, &table, "Survived", &all).unwrap();
    let labels = targets(&table, &target, &all).unwrap();
    let parts = split(891, labels.classes(), Fractions::default(), 0).unwrap();
    assert_eq!(
        (parts.train.len(), parts.validation.len(), parts.test.len()),
        (570, 143, 178)
    );
    let schema = fit_schema(&table, "Survived", &kept, &parts.train).unwrap();
    // Class, sex, age and whether it is known, siblings, parents, fare, three ports (two of 570
    // training rows may or may not lack one).
    assert!(
        (10..=11).contains(&schema.width()),
        "{:?}",
        schema.input.feature_names()
    );
    let (x, y) = encode(&table, &schema, &parts.train, Unseen::Error).unwrap();
    assert!(x.values::<f32>().unwrap().iter().all(|v| v.is_finite()));
    let source = MemorySource::from_rows(x, y, 2).unwrap();
    let mut batches = Batches::new(&source, 64);
    batches.shuffle = true;
    let mut epoch = batches.epoch(0);
    let (mut x, mut y) = (Vec::new(), Targets::empty(2));
    let mut rows = 0;
    while let n @ 1.. = epoch.read(&mut x, &mut y).unwrap() {
        rows += n;
    }
    assert_eq!(rows, 570);
}

#[test]
fn files_of_rows_hold_what_memory_holds() {
    let table = table();
    let (kept, _) = features(&table, "Survived", &[], &[]).unwrap();
    let all: Vec<usize> = (0..table.rows()).collect();
    let schema = fit_schema(&table, "Survived", &kept, &all).unwrap();
    let (x, y) = encode(&table, &schema, &all, Unseen::Error).unwrap();
    let memory = MemorySource::from_rows(x, y, 2).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("rows");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/titanic.csv");
    let done = encode_file(&path, &schema, Unseen::Error, &ReadOptions::default(), &out).unwrap();
    assert_eq!(
        (done.rows, done.without_target, done.notices.len()),
        (891, 0, 1)
    );
    let file = FileSource::open(&out).unwrap();
    let read = |source: &dyn Source| {
        let (mut x, mut y) = (Vec::new(), Targets::empty(2));
        source.read(&all, &mut x, &mut y).unwrap();
        (x, y)
    };
    assert_eq!(read(&file), read(&memory));
}

#[test]
fn wrong_names_are_corrected() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/titanic.csv");
    let error = load(&path, Some("survived"), &ReadOptions::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("titanic.csv: there is no column \"survived\"")
    );
    assert_eq!(error.hint(), Some("did you mean \"Survived\"?"));
    let error = load(
        &path.with_file_name("titanik.csv"),
        None,
        &ReadOptions::default(),
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.hint(), Some("did you mean \"titanic.csv\"?"));
}
