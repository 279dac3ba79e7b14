//! Writes a `.bantam` file of each known architecture, with weights drawn from a seed.
//!
//! `cargo run --release -p bantam --example fresh_networks -- FOLDER [NAME…]`

use std::path::Path;

use bantam_core::arch;
use bantam_formats::bantam::{Coder, Model, WriteOptions, save};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next() else {
        eprintln!("error: expected a folder, and perhaps names of architectures");
        std::process::exit(1);
    };
    let names: Vec<String> = arguments.collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|n| n == name);
    for a in arch::ALL.iter().filter(|a| wanted(a.name)) {
        if let Err(e) = write(a, Path::new(&folder)) {
            eprintln!("error: {}: {e}", a.name);
            std::process::exit(1);
        }
    }
}

fn write(a: &arch::Architecture, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let classes = a.usual_classes();
    let graph = bantam_train::fresh(&a.graph(classes)?, 1)?;
    let model = Model {
        graph,
        schema: a.schema(classes),
        notes: Vec::new(),
    };
    let path = folder.join(format!("{}.bantam", a.name));
    let options = WriteOptions {
        coder: Coder::Store,
    };
    save(&model, &path, &options)?;
    println!("{}", path.display());
    Ok(())
}
