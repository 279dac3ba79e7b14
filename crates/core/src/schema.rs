//! What a network is fed and what its answers mean: column names, categories, normalisation, labels.
//!
//! A [`Schema`] is fitted on training data, stored beside the network and applied wherever the
//! network runs, so that all of them use the very same numbers. It says what to do with a cell or a
//! pixel; reading files is the business of others.

use std::collections::HashSet;

use crate::tensor::element_count;
use crate::{Error, ErrorKind, Result};

/// The input and the target of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// How samples become numbers.
    pub input: InputSchema,
    /// What is predicted.
    pub target: TargetSchema,
}

/// How samples become numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum InputSchema {
    /// Rows of a table.
    Table {
        /// The features in order; a sample is the concatenation of their encodings.
        columns: Vec<ColumnSchema>,
    },
    /// Images of one size with 8-bit pixels: `(pixel / 255 - offset) * scale`.
    Image {
        /// 1 for grey, 3 for red, green, blue.
        channels: usize,
        /// Rows of pixels.
        height: usize,
        /// Columns of pixels.
        width: usize,
        /// One per channel.
        offset: Vec<f32>,
        /// One per channel.
        scale: Vec<f32>,
    },
    /// Plain arrays of numbers: `(x - offset) * scale`.
    Array {
        /// Shape of a sample, without the batch axis.
        shape: Vec<usize>,
        /// One for all numbers.
        offset: f32,
        /// One for all numbers.
        scale: f32,
    },
}

/// A column of a table and how its cells become features.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnSchema {
    /// Name of the column.
    pub name: String,
    /// How its cells become features.
    pub encoding: Encoding,
}

/// How the cells of a column become features.
#[derive(Clone, Debug, PartialEq)]
pub enum Encoding {
    /// One feature, `(x - offset) * scale`; a missing cell is 0.
    Numeric {
        /// Subtracted first.
        offset: f32,
        /// Multiplied with what is left.
        scale: f32,
        /// Whether a second feature says that the cell is missing: 1, else 0.
        missing: bool,
    },
    /// One feature per category, 1 for the category of the cell and 0 for the others. Two
    /// categories without `missing` make one feature: 0 for the first, 1 for the second.
    OneHot {
        /// The categories in order.
        categories: Vec<String>,
        /// Whether a last feature says that the cell is missing.
        missing: bool,
    },
}

/// What is predicted.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetSchema {
    /// Name of the column, or what the labels are called.
    pub name: String,
    /// Classes or a number.
    pub kind: TargetKind,
}

/// Classes or a number.
#[derive(Clone, Debug, PartialEq)]
pub enum TargetKind {
    /// Names of the classes; class `i` is output `i`.
    Classes(Vec<String>),
    /// A number; the network predicts `(y - offset) * scale`.
    Number {
        /// Subtracted first.
        offset: f32,
        /// Multiplied with what is left.
        scale: f32,
    },
}

/// `(x - offset) * scale`, computed in double precision, rounded once and kept finite.
#[inline]
pub fn normalise(x: f64, offset: f32, scale: f32) -> f32 {
    let y = (x - f64::from(offset)) * f64::from(scale);
    (y as f32).clamp(f32::MIN, f32::MAX)
}

/// The inverse of [`normalise`]; `scale` 0 gives back the offset.
pub fn denormalise(y: f32, offset: f32, scale: f32) -> f64 {
    if scale == 0.0 {
        return f64::from(offset);
    }
    f64::from(y) / f64::from(scale) + f64::from(offset)
}

/// `(pixel / 255 - offset) * scale` in single precision.
#[inline]
pub fn normalise_pixel(pixel: u8, offset: f32, scale: f32) -> f32 {
    (f32::from(pixel) / 255.0 - offset) * scale
}

impl Schema {
    /// Number of values in an encoded sample.
    pub fn width(&self) -> usize {
        self.input.width()
    }

    /// Shape of an encoded sample, without the batch axis.
    pub fn sample_shape(&self) -> Vec<usize> {
        self.input.sample_shape()
    }

    /// Number of outputs the network needs: one per class, or one.
    pub fn outputs(&self) -> usize {
        self.target.outputs()
    }

    /// Checks what the types do not: names that are not empty and given once, finite numbers, a
    /// size that can be counted, at least one feature and two classes.
    pub fn check(&self) -> Result<()> {
        self.input.check()?;
        match &self.target.kind {
            TargetKind::Classes(classes) => {
                if classes.len() < 2 {
                    let message = format!("expected at least 2 classes, found {}", classes.len());
                    return Err(Error::new(ErrorKind::Attribute, message));
                }
                once(classes.iter().map(String::as_str), "class")
            }
            TargetKind::Number { offset, scale } => finite("target", &[*offset, *scale]),
        }
    }
}

impl InputSchema {
    /// Number of values in an encoded sample.
    pub fn width(&self) -> usize {
        match self {
            InputSchema::Table { columns } => columns.iter().map(|c| c.encoding.width()).sum(),
            InputSchema::Image {
                channels,
                height,
                width,
                ..
            } => channels * height * width,
            InputSchema::Array { shape, .. } => shape.iter().product(),
        }
    }

    /// Shape of an encoded sample, without the batch axis: `[width]`, `[c, h, w]` or the array's.
    pub fn sample_shape(&self) -> Vec<usize> {
        match self {
            InputSchema::Table { .. } => vec![self.width()],
            InputSchema::Image {
                channels,
                height,
                width,
                ..
            } => vec![*channels, *height, *width],
            InputSchema::Array { shape, .. } => shape.clone(),
        }
    }

    /// Names of the features of a table in the order of the encoded sample; empty for the others.
    pub fn feature_names(&self) -> Vec<String> {
        match self {
            InputSchema::Table { columns } => {
                columns.iter().flat_map(ColumnSchema::features).collect()
            }
            InputSchema::Image { .. } | InputSchema::Array { .. } => Vec::new(),
        }
    }

    fn check(&self) -> Result<()> {
        match self {
            InputSchema::Table { columns } => {
                once(columns.iter().map(|c| c.name.as_str()), "column")?;
                for column in columns {
                    column.check()?;
                }
            }
            InputSchema::Image {
                channels,
                offset,
                scale,
                ..
            } => {
                if offset.len() != *channels || scale.len() != *channels {
                    let (offsets, scales) = (offset.len(), scale.len());
                    return Err(Error::shape(format!(
                        "expected an offset and a scale for each of {channels} channels, \
                         found {offsets} and {scales}"
                    )));
                }
                finite("pixels", offset)?;
                finite("pixels", scale)?;
            }
            InputSchema::Array { offset, scale, .. } => finite("array", &[*offset, *scale])?,
        }
        if let InputSchema::Image { .. } | InputSchema::Array { .. } = self {
            element_count(&match self {
                InputSchema::Array { shape, .. } => shape.clone(),
                _ => self.sample_shape(),
            })?;
        }
        if self.width() == 0 {
            return Err(Error::shape("expected at least one feature, found none"));
        }
        Ok(())
    }
}

impl ColumnSchema {
    /// Names of the features its cells become: `age`, `sex=f`, `age missing`.
    pub fn features(&self) -> Vec<String> {
        let name = &self.name;
        let (mut features, missing) = match &self.encoding {
            Encoding::Numeric { missing, .. } => (vec![name.clone()], *missing),
            Encoding::OneHot {
                categories,
                missing,
            } => {
                let skip = usize::from(self.encoding.is_binary());
                let feature = |category| format!("{name}={category}");
                (
                    categories.iter().skip(skip).map(feature).collect(),
                    *missing,
                )
            }
        };
        if missing {
            features.push(format!("{name} missing"));
        }
        features
    }

    fn check(&self) -> Result<()> {
        match &self.encoding {
            Encoding::Numeric { offset, scale, .. } => finite(&self.name, &[*offset, *scale]),
            Encoding::OneHot { categories, .. } => {
                once(categories.iter().map(String::as_str), "category")
            }
        }
    }
}

impl Encoding {
    /// Number of features.
    pub fn width(&self) -> usize {
        match self {
            Encoding::Numeric { missing, .. } => 1 + usize::from(*missing),
            Encoding::OneHot {
                categories,
                missing,
            } => {
                if self.is_binary() {
                    return 1;
                }
                categories.len() + usize::from(*missing)
            }
        }
    }

    /// Whether two categories share one feature.
    pub fn is_binary(&self) -> bool {
        matches!(self, Encoding::OneHot { categories, missing: false } if categories.len() == 2)
    }
}

impl TargetSchema {
    /// Number of outputs the network needs: one per class, or one.
    pub fn outputs(&self) -> usize {
        match &self.kind {
            TargetKind::Classes(classes) => classes.len(),
            TargetKind::Number { .. } => 1,
        }
    }

    /// Names of the classes; none for a number.
    pub fn classes(&self) -> &[String] {
        match &self.kind {
            TargetKind::Classes(classes) => classes,
            TargetKind::Number { .. } => &[],
        }
    }
}

fn once<'a>(names: impl Iterator<Item = &'a str>, what: &str) -> Result<()> {
    let mut seen = HashSet::new();
    for name in names {
        if name.is_empty() && what == "column" {
            return Err(Error::new(ErrorKind::Name, "a column has no name"));
        }
        if !seen.insert(name) {
            let message = format!("{what} {name:?} is there twice");
            return Err(Error::new(ErrorKind::Name, message));
        }
    }
    Ok(())
}

fn finite(what: &str, numbers: &[f32]) -> Result<()> {
    match numbers.iter().find(|x| !x.is_finite()) {
        None => Ok(()),
        Some(x) => {
            let message = format!("{what}: expected a finite offset and scale, found {x}");
            Err(Error::attribute(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_hot(categories: &[&str], missing: bool) -> Encoding {
        Encoding::OneHot {
            categories: categories.iter().map(|s| s.to_string()).collect(),
            missing,
        }
    }

    fn numeric(missing: bool) -> Encoding {
        Encoding::Numeric {
            offset: 1.0,
            scale: 2.0,
            missing,
        }
    }

    fn schema(input: InputSchema) -> Schema {
        Schema {
            input,
            target: TargetSchema {
                name: "y".into(),
                kind: TargetKind::Classes(vec!["a".into(), "b".into()]),
            },
        }
    }

    #[test]
    fn widths_and_names() {
        let cases = [
            (numeric(false), vec!["x"]),
            (numeric(true), vec!["x", "x missing"]),
            (one_hot(&["f", "m"], false), vec!["x=m"]),
            (one_hot(&["f", "m"], true), vec!["x=f", "x=m", "x missing"]),
            (one_hot(&["a", "b", "c"], false), vec!["x=a", "x=b", "x=c"]),
            (one_hot(&["a"], false), vec!["x=a"]),
        ];
        let mut columns = Vec::new();
        let mut width = 0;
        for (i, (encoding, names)) in cases.into_iter().enumerate() {
            assert_eq!(encoding.width(), names.len(), "{encoding:?}");
            width += encoding.width();
            let column = |name: String| ColumnSchema {
                name,
                encoding: encoding.clone(),
            };
            assert_eq!(column("x".into()).features(), names);
            columns.push(column(format!("x{i}")));
        }
        let schema = schema(InputSchema::Table { columns });
        assert_eq!((schema.width(), schema.outputs()), (width, 2));
        assert_eq!(schema.sample_shape(), [width]);
        assert_eq!(schema.input.feature_names().len(), width);
        schema.check().unwrap();
    }

    #[test]
    fn refuses() {
        let image = |channels, offset: Vec<f32>| InputSchema::Image {
            channels,
            height: 2,
            width: usize::MAX / 2,
            offset,
            scale: vec![1.0; channels],
        };
        let twice = ColumnSchema {
            name: "x".into(),
            encoding: numeric(false),
        };
        let cases = [
            (
                InputSchema::Table {
                    columns: vec![twice.clone(), twice],
                },
                "column \"x\" is there twice",
            ),
            (
                InputSchema::Table { columns: vec![] },
                "at least one feature",
            ),
            (image(3, vec![0.0]), "for each of 3 channels, found 1 and 3"),
            (image(1, vec![f32::NAN]), "expected a finite offset"),
            (image(3, vec![0.0; 3]), "more elements"),
        ];
        for (input, text) in cases {
            let error = schema(input).check().unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn normalisation_is_finite_and_inverts() {
        assert_eq!(normalise(3.0, 1.0, 2.0), 4.0);
        assert_eq!(denormalise(4.0, 1.0, 2.0), 3.0);
        assert_eq!(normalise(1e308, 0.0, 1.0), f32::MAX);
        assert_eq!(denormalise(5.0, 1.5, 0.0), 1.5);
        assert_eq!(normalise_pixel(255, 0.5, 2.0), 1.0);
    }
}
