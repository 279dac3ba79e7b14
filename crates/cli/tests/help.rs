//! The help of every command, compared with stored copies. `BANTAM_REFRESH=1` rewrites them.

mod common;

use std::path::Path;

#[test]
fn help_is_as_stored() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help");
    let here = common::Folder::new();
    let verbs = [
        "measure", "grow", "train", "prune", "quantize", "pack", "run", "inspect", "export",
        "bench", "shrink", "drift",
    ];
    let mut commands: Vec<(&str, Vec<&str>)> = vec![("bantam", vec!["--help"])];
    commands.extend(verbs.map(|verb| (verb, vec![verb, "--help"])));
    for (name, args) in commands {
        let ran = common::run(here.path(), &args);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{name}");
        let path = folder.join(format!("{name}.txt"));
        if std::env::var_os("BANTAM_REFRESH").is_some() {
            std::fs::write(&path, &ran.stdout).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            ran.stdout, stored,
            "{name}: run with BANTAM_REFRESH=1 if this is meant"
        );
    }
    let stored = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(
        stored,
        verbs.len() + 1,
        "a stored help that belongs to no command"
    );
}
