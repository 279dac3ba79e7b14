//! Answers as text, and their score.

use std::io::Write;

use bantam_core::schema::{TargetKind, TargetSchema, denormalise};
use bantam_data::Target;
use bantam_train::argmax;

use super::Summary;
use crate::{Error, ErrorKind, Result};

/// How answers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A header line, then a line per row: the answer, then the probability of each class.
    #[default]
    Csv,
    /// A JSON object per row with the same names as keys.
    JsonLines,
}

/// Writes answers row by row.
pub(super) struct Rows<'a> {
    out: &'a mut dyn Write,
    format: Format,
    target: TargetSchema,
    /// Beginnings of the fields of a JSON row: `{"name":`, `,"p_a":`, …
    keys: Vec<String>,
    line: String,
}

impl<'a> Rows<'a> {
    /// Writes the header, if there is one. With `files`, the first field is the file's name.
    pub(super) fn start(
        out: &'a mut dyn Write,
        format: Format,
        target: &TargetSchema,
        files: bool,
    ) -> Result<Rows<'a>> {
        let mut names: Vec<String> = if files {
            vec!["file".to_owned()]
        } else {
            Vec::new()
        };
        names.push(target.name.clone());
        names.extend(target.classes().iter().map(|c| format!("p_{c}")));
        let mut rows = Rows {
            out,
            format,
            target: target.clone(),
            keys: names.iter().map(|n| format!("{}:", json(n))).collect(),
            line: String::new(),
        };
        if format == Format::Csv {
            let cells: Vec<String> = names.iter().map(|n| cell(n)).collect();
            rows.line = cells.join(",");
            rows.end()?;
        }
        Ok(rows)
    }

    /// Writes the answer that `output`, logits or a normalised number, stands for.
    pub(super) fn write(&mut self, file: Option<&str>, output: &[f32]) -> Result<()> {
        let text: fn(&str) -> String = match self.format {
            Format::Csv => cell,
            Format::JsonLines => json,
        };
        let mut fields: Vec<String> = file.map(text).into_iter().collect();
        match &self.target.kind {
            TargetKind::Classes(classes) => {
                fields.push(text(&classes[argmax(output)]));
                fields.extend(softmax(output).map(|p| p.to_string()));
            }
            TargetKind::Number { offset, scale } => {
                fields.push(number(denormalise(output[0], *offset, *scale)));
            }
        }
        match self.format {
            Format::Csv => self.line.push_str(&fields.join(",")),
            Format::JsonLines => {
                let pairs = self.keys.iter().zip(&fields);
                let pairs: Vec<String> = pairs.map(|(k, v)| format!("{k}{v}")).collect();
                self.line.push_str(&format!("{{{}}}", pairs.join(",")));
            }
        }
        self.end()
    }

    /// Hands everything to whoever is behind the writer.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(|e| refused(&e))
    }

    fn end(&mut self) -> Result<()> {
        self.line.push('\n');
        let result = self.out.write_all(self.line.as_bytes());
        self.line.clear();
        result.map_err(|e| refused(&e))
    }
}

fn refused(e: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::File,
        format!("the answers cannot be written: {e}"),
    )
}

/// Probabilities from logits, computed in double precision.
fn softmax(logits: &[f32]) -> impl Iterator<Item = f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp = move |v: &f32| f64::from(v - max).exp();
    let sum: f64 = logits.iter().map(exp).sum();
    logits.iter().map(move |v| (exp(v) / sum) as f32)
}

/// Nine significant digits, which is more than single precision holds.
fn number(x: f64) -> String {
    let rounded: f64 = format!("{x:.8e}").parse().expect("a number was printed");
    rounded.to_string()
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A cell of delimited text, quoted where a reader needs it.
fn cell(text: &str) -> String {
    let special = |c: char| matches!(c, ',' | '"' | '\n' | '\r');
    if text.contains(special) || text.trim() != text || text.is_empty() {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

/// Counts of right and wrong answers, or what R² needs.
pub(super) enum Scores {
    Classes(Vec<Vec<u64>>),
    Numbers(Moments),
}

/// Sums over the rows scored, in the normalised units in which training scores.
#[derive(Default)]
pub(super) struct Moments {
    n: usize,
    squared_error: f64,
    sum: f64,
    sum_of_squares: f64,
}

impl Scores {
    pub(super) fn new(target: &TargetSchema) -> Scores {
        let n = target.classes().len();
        match target.kind {
            TargetKind::Classes(_) => Scores::Classes(vec![vec![0; n]; n]),
            TargetKind::Number { .. } => Scores::Numbers(Moments::default()),
        }
    }

    pub(super) fn add(&mut self, output: &[f32], target: Target) {
        match (self, target) {
            (Scores::Classes(counts), Target::Class(class)) => {
                counts[class as usize][argmax(output)] += 1;
            }
            (Scores::Numbers(m), Target::Number(t)) => {
                let (y, t) = (f64::from(output[0]), f64::from(t));
                m.n += 1;
                m.squared_error += (y - t) * (y - t);
                m.sum += t;
                m.sum_of_squares += t * t;
            }
            _ => unreachable!("targets are read by the schema that the scores were made for"),
        }
    }

    pub(super) fn summary(self, rows: usize, target: &TargetSchema) -> Summary {
        let (n, accuracy, standard_error, confusion) = match self {
            Scores::Classes(counts) => {
                let n: u64 = counts.iter().flatten().sum();
                let correct: u64 = counts.iter().enumerate().map(|(i, row)| row[i]).sum();
                let share = (n > 0).then(|| correct as f64 / n as f64);
                let error = share.map(|p| (p * (1.0 - p) / n as f64).sqrt());
                (n as usize, share, error, counts)
            }
            Scores::Numbers(m) => (m.n, m.r2(), None, Vec::new()),
        };
        Summary {
            rows,
            n,
            accuracy,
            standard_error,
            classes: target.classes().to_vec(),
            confusion,
        }
    }
}

impl Moments {
    /// The coefficient of determination; 0 where the targets do not vary, as in training.
    fn r2(&self) -> Option<f64> {
        let variation = self.sum_of_squares - self.sum * self.sum / self.n as f64;
        let r2 = match variation > 0.0 {
            true => 1.0 - self.squared_error / variation,
            false => 0.0,
        };
        (self.n > 0).then_some(r2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(kind: TargetKind, format: Format, files: bool, output: &[f32]) -> String {
        let target = TargetSchema {
            name: "y, \"z\"".into(),
            kind,
        };
        let mut out = Vec::new();
        let mut rows = Rows::start(&mut out, format, &target, files).unwrap();
        rows.write(files.then_some("a b.png"), output).unwrap();
        rows.flush().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_as_text() {
        let classes = || TargetKind::Classes(vec!["no".into(), " yes".into()]);
        let number = || TargetKind::Number {
            offset: 1.5,
            scale: 0.1,
        };
        let logits = [0.0, 3f32.ln()];
        let cases = [
            (
                written(classes(), Format::Csv, false, &logits),
                "\"y, \"\"z\"\"\",p_no,p_ yes\n\" yes\",0.25,0.75\n",
            ),
            (
                written(classes(), Format::JsonLines, true, &logits),
                "{\"file\":\"a b.png\",\"y, \\\"z\\\"\":\" yes\",\"p_no\":0.25,\"p_ yes\":0.75}\n",
            ),
            (
                written(number(), Format::Csv, false, &[0.2]),
                "\"y, \"\"z\"\"\"\n3.5\n",
            ),
        ];
        for (found, expected) in cases {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn scores() {
        let target = |kind| TargetSchema {
            name: "y".into(),
            kind,
        };
        let classes = target(TargetKind::Classes(vec!["a".into(), "b".into()]));
        let mut s = Scores::new(&classes);
        for (output, class) in [
            ([1.0, 0.0], 0),
            ([0.0, 1.0], 0),
            ([0.0, 1.0], 1),
            ([0.0, 0.0], 0),
        ] {
            s.add(&output, Target::Class(class));
        }
        let summary = s.summary(5, &classes);
        assert_eq!(
            (summary.rows, summary.n, summary.accuracy),
            (5, 4, Some(0.75))
        );
        assert_eq!(summary.confusion, [[2, 1], [0, 1]]);

        let number = target(TargetKind::Number {
            offset: 0.0,
            scale: 1.0,
        });
        let mut s = Scores::new(&number);
        for (y, t) in [(1.0, 1.0), (2.0, 2.0), (2.0, 3.0)] {
            s.add(&[y], Target::Number(t));
        }
        assert_eq!(s.summary(3, &number).accuracy, Some(0.5));
        assert_eq!(Scores::new(&number).summary(3, &number).accuracy, None);
    }
}
