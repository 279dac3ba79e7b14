//! `bantam export`: a network as a file for other programs.

use std::io::Write;
use std::path::{Path, PathBuf};

use bantam::export::{Exported, Target, export};
use bantam::{Error, ErrorKind, Result};
use clap::ValueEnum;

use crate::args::{ArchArgs, Global};
use crate::output::{OutFile, Stdout, check_place};
use crate::values::grouped;

const KEYS: &str = "Keys of --json: name, path, bytes, tensors, parameters.";

#[derive(Debug, clap::Args)]
#[command(after_help = KEYS)]
pub struct ExportArgs {
    /// A .bantam or .onnx file, or weights (.safetensors, .pth, .pt) with --arch
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// What to write: the network in ONNX, its weights by name, or a .bantam file with the network and
    /// what it is fed
    #[arg(long, value_enum, value_name = "FORMAT")]
    to: TargetArg,
    /// Where to write it; by default beside MODEL, with another extension
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    arch: ArchArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TargetArg {
    Onnx,
    Safetensors,
    Bantam,
}

impl TargetArg {
    fn target(self) -> (Target, &'static str) {
        match self {
            TargetArg::Onnx => (Target::Onnx, "onnx"),
            TargetArg::Safetensors => (Target::Safetensors, "safetensors"),
            TargetArg::Bantam => (Target::Bantam, "bantam"),
        }
    }
}

pub fn run(args: &ExportArgs, global: &Global) -> Result<()> {
    let (target, extension) = args.to.target();
    let beside = || args.model.with_extension(extension);
    let path = args.out.clone().unwrap_or_else(beside);
    if path == args.model {
        let message = "the exported file would replace the model";
        let error = Error::new(ErrorKind::File, message).in_file(&path);
        return Err(error.with_hint("say where to write it with -o"));
    }
    check_place(&path)?;
    let (bytes, exported) = export(&args.model, args.arch.name(), target)?;
    let mut file = OutFile::create(&path)?;
    file.write_all(&bytes).map_err(|e| Error::file(&path, &e))?;
    file.finish()?;
    match global.json {
        true => Stdout::json(&json(&exported, &path)),
        false => Stdout::print(&text(&exported, &path)),
    }
}

fn json(exported: &Exported, path: &Path) -> serde_json::Value {
    serde_json::json!({
        "name": exported.name,
        "path": path.display().to_string(),
        "bytes": exported.bytes,
        "tensors": exported.tensors,
        "parameters": exported.parameters,
    })
}

fn text(e: &Exported, path: &Path) -> String {
    let [tensors, parameters] = [e.tensors, e.parameters].map(|n| grouped(n as u64));
    format!(
        "{}: {tensors} tensors of {} with {parameters} weights, {} bytes\n",
        path.display(),
        e.name,
        grouped(e.bytes)
    )
}
