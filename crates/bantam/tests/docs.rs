//! The pages under `docs/`, held to what the code reads and writes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bantam::bench::{BenchOptions, Cache, Source, bench};
use bantam::drift::{DriftOptions, drift, profile};
use bantam::export::{Target, export};
use bantam::inspect::inspect;
use bantam::watch::Silent;
use bantam::{
    MeasureOptions, PartialOptions, Recipe, RunOptions, grow, inspect_with, measure_all, partial,
};
use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page(name: &str) -> String {
    let path = root().join("docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Text between backticks at the start of a table cell.
fn code(cell: &str) -> Option<&str> {
    cell.trim().strip_prefix('`')?.split('`').next()
}

/// Cells of the rows of all tables that start with code: the code, and the other cells.
fn rows(page: &str) -> Vec<(&str, Vec<&str>)> {
    let lines = page.lines().filter_map(|l| l.strip_prefix('|'));
    lines
        .filter_map(|line| {
            let mut cells = line.split('|');
            Some((code(cells.next()?)?, cells.collect()))
        })
        .collect()
}

/// `section.field` and the value, for every field of a recipe.
fn fields(recipe: &Recipe) -> BTreeMap<String, String> {
    let table: toml::Table = recipe.to_toml().parse().unwrap();
    let mut fields = BTreeMap::new();
    for (section, value) in table {
        match value {
            toml::Value::Table(inner) => fields.extend(
                inner
                    .into_iter()
                    .map(|(key, value)| (format!("{section}.{key}"), value.to_string())),
            ),
            value => {
                fields.insert(section, value.to_string());
            }
        }
    }
    fields
}

#[test]
fn every_field_of_a_recipe_is_documented_with_its_default() {
    let mut recipe = Recipe::new("name", Path::new("path"));
    let defaults = fields(&recipe);
    // Fields that a recipe without them leaves out.
    recipe.data.target = Some("target".to_owned());
    recipe.data.header = Some(true);
    let page = page("recipe.md");
    let documented: BTreeMap<&str, Vec<&str>> = rows(&page).into_iter().collect();
    let known = fields(&recipe);
    for field in known.keys() {
        let row = documented.get(field.as_str());
        let row = row.unwrap_or_else(|| panic!("docs/recipe.md does not name `{field}`"));
        let expected = match (field.as_str(), defaults.get(field)) {
            ("schema" | "name" | "data.path", _) => None,
            (_, default) => default.map(String::as_str),
        };
        assert_eq!(code(row[1]), expected, "the default of `{field}`");
    }
    for field in documented.keys() {
        assert!(known.contains_key(*field), "there is no field `{field}`");
    }
}

/// Paths of all keys: `test.accuracy`, `stages[].name`.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let dot = if path.is_empty() { "" } else { "." };
                keys(value, &format!("{path}{dot}{key}"), found);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let path = format!("{path}[]");
            items.iter().for_each(|v| keys(v, &path, found));
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

/// What the section of `docs/json.md` about a command lists.
fn listed<'a>(page: &'a str, command: &str) -> BTreeSet<&'a str> {
    let title = format!("## `{command}`");
    let section = page
        .split_once(&title)
        .unwrap_or_else(|| panic!("no {title}"))
        .1;
    let section = section.split("\n## ").next().unwrap();
    rows(section).into_iter().map(|(key, _)| key).collect()
}

#[test]
fn every_key_of_the_results_is_documented() {
    let mut recipe = Recipe::new("titanic", &root().join("data/titanic.csv"));
    recipe.data.target = Some("Survived".to_owned());
    recipe.train.epochs = 2;
    recipe.prune.max_rounds = 1;
    recipe.quantize.epochs = 1;
    recipe.budget.max_drop = 1.0;
    let folder = tempfile::tempdir().unwrap();
    let options = RunOptions {
        runs: folder.path().to_owned(),
        ..RunOptions::default()
    };
    let result = grow(&recipe, &options, &mut Silent).unwrap();
    let file = Path::new(&result.file.path);
    let inspected = inspect_with(file, None, &recipe.data.path, &mut Silent)
        .unwrap()
        .inspection;
    let mut inspected = serde_json::to_value(inspected).unwrap();
    // An ONNX file says more of itself.
    let (bytes, _) = export(file, None, Target::Onnx).unwrap();
    let exported = folder.path().join("titanic.onnx");
    std::fs::write(&exported, bytes).unwrap();
    inspected["onnx"] = json!(inspect(&exported, None).unwrap().inspection.onnx);
    let (how, rates) = (MeasureOptions::default(), Default::default());
    let measured = measure_all(&recipe, &how, &rates, &mut Silent).unwrap();
    let mut measured = serde_json::to_value(measured).unwrap();
    // A number brings one more list.
    let mut number = recipe.clone();
    number.data.target = Some("Fare".to_owned());
    let number = measure_all(&number, &how, &rates, &mut Silent).unwrap();
    measured["tolerance_curve"] = json!(number.measured.tolerance_curve);
    let part = partial(&recipe, &PartialOptions::default(), &mut Silent).unwrap();
    let options = DriftOptions {
        target: recipe.data.target.clone(),
        ..DriftOptions::default()
    };
    let reference = profile(&recipe.data.path, &options).unwrap();
    let drifted = drift(&reference, &recipe.data.path, &options).unwrap();
    let page = page("json.md");
    let lenet = || Source::Fresh("lenet-300-100".to_owned());
    let options = BenchOptions {
        threads: vec![1, 2],
        seconds: 0.001,
        layers: true,
        cache: Cache::none(),
        ..BenchOptions::default()
    };
    let benched = bench(&[lenet(), lenet()], &options, &mut Silent).unwrap();
    for (command, value) in [
        ("grow", serde_json::to_value(result).unwrap()),
        ("inspect", inspected),
        ("measure", serde_json::to_value(measured).unwrap()),
        ("measure --partial", serde_json::to_value(part).unwrap()),
        ("bench", serde_json::to_value(benched).unwrap()),
        ("drift", serde_json::to_value(drifted).unwrap()),
    ] {
        let mut found = BTreeSet::new();
        keys(&value, "", &mut found);
        // What `grow` repeats of the others is listed there.
        let repeated = |key: &str| match command {
            "grow" => ["measured", "sized", "budget", "layers"]
                .into_iter()
                .find(|part| key.starts_with(part)),
            _ => None,
        };
        let found: BTreeSet<&str> = found
            .iter()
            .map(|key| repeated(key).unwrap_or(key))
            .collect();
        assert_eq!(listed(&page, command), found, "{command}");
    }
}
