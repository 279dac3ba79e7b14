//! Quantized weights: a context-mixing coder for matrices of small integers, many of them zero.
//!
//! A weight is coded as up to three kinds of decisions: zero or not, sign, and magnitude in unary
//! (beyond 17 as an Exp-Golomb code). Each decision's probability is mixed from what its row,
//! column, neighbours and the previous matrix suggest; nothing is stored but one header byte. The
//! matrices share one code and one model, so a matrix can be decoded only after those before it.
//! The approach is that of lossless data compressors of the PAQ family; the contexts are our own.
//!
//! The coder is frozen: what it writes today, every later version reads. It refuses levels outside
//! the stated range, and sizes above the caller's budget before anything is allocated. It does not
//! notice most corruptions: store a checksum of the levels beside the code.

mod model;
mod plane;

use crate::range::{Decoder, Encoder};
use crate::{Error, ErrorKind};
use model::{Model, Tuning};
use plane::Plane;

/// What the decoder must know of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Rows, one for each output of the layer.
    pub rows: usize,
    /// Columns, one for each input of the layer.
    pub cols: usize,
    /// The distance within a row to the neighbour in the next line or channel: the image width of
    /// a first dense layer, the kernel area of a convolution, 1 if there is none.
    pub stride: usize,
    /// The smallest possible level, at most 0.
    pub min_level: i32,
    /// The largest possible level, at least 0.
    pub max_level: i32,
}

impl Shape {
    /// The number of levels, if it can be represented.
    fn n_levels(&self) -> Option<usize> {
        self.rows.checked_mul(self.cols)
    }
}

/// A matrix of levels: 0 for a pruned weight, or the entries of a codebook numbered outwards from
/// zero, or the integers of a uniform grid.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    shape: Shape,
    levels: &'a [i32],
}

impl<'a> Matrix<'a> {
    /// A matrix of `levels`, row by row.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Mismatch`] if the number or the range of the levels is not that of the shape.
    pub fn new(shape: Shape, levels: &'a [i32]) -> Result<Matrix<'a>, Error> {
        check(&shape)?;
        if shape.n_levels() != Some(levels.len()) {
            return Err(Error::new(
                ErrorKind::Mismatch,
                "number of levels is not rows times columns",
            ));
        }
        if levels
            .iter()
            .any(|level| !(shape.min_level..=shape.max_level).contains(level))
        {
            return Err(Error::new(
                ErrorKind::Mismatch,
                "level outside the stated range",
            ));
        }
        Ok(Matrix { shape, levels })
    }
}

fn check(shape: &Shape) -> Result<(), Error> {
    if shape.min_level > 0 || shape.max_level < 0 {
        return Err(Error::new(
            ErrorKind::Mismatch,
            "range of levels does not contain zero",
        ));
    }
    Ok(())
}

/// Codes the matrices, in order, as one byte string.
pub fn encode(matrices: &[Matrix<'_>]) -> Vec<u8> {
    let candidates = (0..Tuning::COUNT).map(|tuning| encode_with(matrices, tuning));
    candidates
        .min_by_key(Vec::len)
        .expect("there is at least one tuning")
}

fn encode_with(matrices: &[Matrix<'_>], tuning: u8) -> Vec<u8> {
    let mut coder = Encoder::new();
    let mut model = Model::new(Tuning::get(tuning).expect("tuning is in range"));
    let mut previous = None;
    for matrix in matrices {
        let mut plane = Plane::new(matrix.shape, previous.as_ref());
        let mut row = Vec::new();
        for levels in matrix.levels.chunks_exact(matrix.shape.cols.max(1)) {
            row.clear();
            row.extend_from_slice(levels);
            plane.code_row(&mut model, &mut coder, &mut row);
        }
        previous = Some(plane.finish());
    }
    let mut bytes = vec![tuning];
    bytes.extend(coder.finish());
    bytes
}

/// Decodes what [`encode`] wrote, given the shapes of its matrices in order.
///
/// # Errors
///
/// [`ErrorKind::TooLarge`] if the shapes hold more than `max_levels` levels together,
/// [`ErrorKind::Truncated`], [`ErrorKind::Trailing`] or [`ErrorKind::Corrupt`] if the bytes are
/// not a code for those shapes, [`ErrorKind::Unsupported`] if a later version wrote them,
/// [`ErrorKind::Mismatch`] if a shape's range of levels does not contain zero.
pub fn decode(bytes: &[u8], shapes: &[Shape], max_levels: usize) -> Result<Vec<Vec<i32>>, Error> {
    let mut n_left = max_levels;
    for shape in shapes {
        check(shape)?;
        let left = shape.n_levels().and_then(|n| n_left.checked_sub(n));
        n_left = left.ok_or(Error::new(
            ErrorKind::TooLarge,
            "more levels than the budget allows",
        ))?;
    }
    let (&tuning, code) = bytes
        .split_first()
        .ok_or(Error::truncated("weights have no header"))?;
    let tuning = Tuning::get(tuning).ok_or(Error::new(
        ErrorKind::Unsupported,
        "weights of an unknown coder profile",
    ))?;
    let mut coder = Decoder::new(code);
    let mut model = Model::new(tuning);
    let mut previous = None;
    let mut matrices = Vec::new();
    for &shape in shapes {
        let mut levels = Vec::new();
        let mut plane = Plane::new(shape, previous.as_ref());
        let mut row = vec![0; if shape.rows > 0 { shape.cols } else { 0 }];
        for _ in 0..if shape.cols > 0 { shape.rows } else { 0 } {
            plane.code_row(&mut model, &mut coder, &mut row);
            if coder.is_overrun() {
                return Err(Error::truncated("weights end early"));
            }
            if row
                .iter()
                .any(|level| !(shape.min_level..=shape.max_level).contains(level))
            {
                return Err(Error::corrupt("level outside the stated range"));
            }
            levels.extend_from_slice(&row);
        }
        matrices.push(levels);
        previous = Some(plane.finish());
    }
    coder.finish()?;
    Ok(matrices)
}

#[cfg(test)]
mod tests;
