//! What the tests of the command share: running it, files to give it, networks to run.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bantam_core::op::Dense;
use bantam_core::schema::{ColumnSchema, Encoding, InputSchema, Schema, TargetKind, TargetSchema};
use bantam_core::{DType, Dim, GraphBuilder, Op, Tensor};
use bantam_formats::bantam::{Coder, Model, WriteOptions, write};
use tempfile::TempDir;

/// The command, to be run in `folder`.
pub fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bantam"));
    command.current_dir(folder).args(args);
    command.env_remove("COLUMNS").stdin(Stdio::null());
    // What is kept from run to run stays in the folder too.
    command.env("XDG_CACHE_HOME", folder.join("cache"));
    command
}

/// What a run of the command came to.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The last line of stdout as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

pub fn run(folder: &Path, args: &[&str]) -> Ran {
    finish(command(folder, args).output().expect("the command starts"))
}

pub fn run_with_stdin(folder: &Path, args: &[&str], stdin: &[u8]) -> Ran {
    let mut command = command(folder, args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let mut pipe = child.stdin.take().expect("stdin is a pipe");
    // The command may end without reading all of it.
    let _ = pipe.write_all(stdin);
    drop(pipe);
    finish(child.wait_with_output().expect("the command ends"))
}

fn finish(output: std::process::Output) -> Ran {
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}

/// A folder with files in it.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it has a parent")).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap()
    }

    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// Every file with its contents.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let bytes = std::fs::read(&path).unwrap();
                    files.insert(path, bytes);
                }
            }
        }
        files
    }
}

/// A network of one layer, packed: logits 0 and `weights` times the sample.
pub fn packed(input: InputSchema, weights: &[f32]) -> Vec<u8> {
    let classes = vec!["no".to_owned(), "yes".to_owned()];
    let target = TargetSchema {
        name: "survived".to_owned(),
        kind: TargetKind::Classes(classes),
    };
    let rows = [vec![0.0; weights.len()], weights.to_vec()].concat();
    packed_for(Schema { input, target }, rows, 2)
}

fn packed_for(schema: Schema, weights: Vec<f32>, outputs: usize) -> Vec<u8> {
    let width = schema.width();
    let mut b = GraphBuilder::new("one-layer");
    let mut dims = vec![Dim::batch()];
    dims.extend(schema.sample_shape().into_iter().map(Dim::Fixed));
    let mut x = b.input("x", DType::F32, dims);
    if schema.sample_shape().len() > 1 {
        let shape = vec![0, width as i64];
        x = b.node(
            "flatten",
            Op::Layout(bantam_core::op::Layout::Reshape { shape }),
            &[x],
        );
    }
    let w = b.weight(
        "dense.weight",
        Tensor::new(&[outputs, width], weights).unwrap(),
    );
    let bias = b.weight(
        "dense.bias",
        Tensor::new(&[outputs], vec![0f32; outputs]).unwrap(),
    );
    let y = b.node("dense", Op::Dense(Dense), &[x, w, bias]);
    b.output(y);
    let mut model = Model::new(b.finish().unwrap());
    model.schema = Some(schema);
    write(
        &model,
        &WriteOptions {
            coder: Coder::Store,
        },
    )
    .unwrap()
}

/// A network for `age,sex`: the older the likelier, and 2 more for men.
pub fn table_model() -> Vec<u8> {
    packed(InputSchema::Table { columns: columns() }, &[1.0, 0.0, 2.0])
}

/// A network that predicts ten times the age.
pub fn number_model() -> Vec<u8> {
    let target = TargetSchema {
        name: "price".to_owned(),
        kind: TargetKind::Number {
            offset: 100.0,
            scale: 0.1,
        },
    };
    let input = InputSchema::Table { columns: columns() };
    packed_for(Schema { input, target }, vec![10.0, 0.0, 0.0], 1)
}

fn columns() -> Vec<ColumnSchema> {
    vec![
        ColumnSchema {
            name: "age".to_owned(),
            encoding: Encoding::Numeric {
                offset: 30.0,
                scale: 0.1,
                missing: true,
            },
        },
        ColumnSchema {
            name: "sex".to_owned(),
            encoding: Encoding::OneHot {
                categories: vec!["female".to_owned(), "male".to_owned()],
                missing: false,
            },
        },
    ]
}

/// A network for grey images of 2 by 2 pixels: yes when the first pixel is brighter than half.
pub fn image_model() -> Vec<u8> {
    let input = InputSchema::Image {
        channels: 1,
        height: 2,
        width: 2,
        offset: vec![0.5],
        scale: vec![2.0],
    };
    packed(input, &[1.0, 0.0, 0.0, 0.0])
}

/// A network for arrays of 3 numbers: yes when the last is positive.
pub fn array_model() -> Vec<u8> {
    let input = InputSchema::Array {
        shape: vec![3],
        offset: 0.0,
        scale: 1.0,
    };
    packed(input, &[0.0, 0.0, 1.0])
}

/// A NumPy file of 32-bit floats.
pub fn npy(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|s| format!("{s},")).collect();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}), }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

/// An IDX file of bytes.
pub fn idx(shape: &[usize], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|&s| (s as u32).to_be_bytes()));
    bytes.extend(values);
    bytes
}

/// A grey PNG.
pub fn png(width: u32, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let height = pixels.len() as u32 / width;
    let (color, format) = (image::ColorType::L8, image::ImageFormat::Png);
    image::write_buffer_with_format(&mut bytes, pixels, width, height, color, format).unwrap();
    bytes.into_inner()
}

/// Gzipped bytes.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// An archive of NumPy files.
pub fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(format!("{name}.npy"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A Parquet file with the columns `age` and `sex`.
pub fn parquet(ages: &[Option<f64>], sexes: &[&str]) -> Vec<u8> {
    use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
    use parquet::file::writer::SerializedFileWriter;
    let message = "message m { optional double age; required binary sex (STRING); }";
    let schema = parquet::schema::parser::parse_message_type(message).unwrap();
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, schema.into(), Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let levels: Vec<i16> = ages.iter().map(|a| i16::from(a.is_some())).collect();
    let known: Vec<f64> = ages.iter().flatten().copied().collect();
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<DoubleType>();
    typed.write_batch(&known, Some(&levels), None).unwrap();
    column.close().unwrap();
    let sexes: Vec<ByteArray> = sexes.iter().map(|s| ByteArray::from(*s)).collect();
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<ByteArrayType>();
    typed.write_batch(&sexes, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}
