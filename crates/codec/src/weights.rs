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

mod evidence;
mod model;
mod plane;
mod tally;
mod votes;

use crate::range::{Decoder, Encoder};
use crate::{Error, ErrorKind};
use model::Model;
use plane::Plane;

/// The first byte of every code: the model it was written with.
const PROFILE_1: u8 = 1;

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
    let mut coder = Encoder::new();
    let mut model = Model::new();
    let mut previous = None;
    for Matrix { shape, levels } in matrices {
        let mut plane = Plane::new(*shape, previous.as_ref());
        let mut row = Vec::new();
        for levels in levels.chunks_exact(shape.cols.max(1)) {
            row.clear();
            row.extend_from_slice(levels);
            plane.code_row(&mut model, &mut coder, &mut row);
        }
        previous = Some(plane.finish());
    }
    [&[PROFILE_1], &coder.finish()[..]].concat()
}

/// Decodes what [`encode`] wrote, given the shapes of its matrices in order. Time and working
/// memory are proportional to the number of levels, whatever the bytes are.
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
    let (&profile, code) = bytes
        .split_first()
        .ok_or(Error::truncated("weights have no header"))?;
    if profile != PROFILE_1 {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "weights of an unknown coder profile",
        ));
    }
    let mut coder = Decoder::new(code);
    let mut model = Model::new();
    let mut previous = None;
    let mut matrices = Vec::new();
    for &shape in shapes {
        let mut plane = Plane::new(shape, previous.as_ref());
        matrices.push(decode_matrix(shape, &mut plane, &mut model, &mut coder)?);
        previous = Some(plane.finish());
    }
    coder.finish()?;
    Ok(matrices)
}

/// Grows the levels row by row, so that a code that ends early never fills the memory it claims.
fn decode_matrix(
    shape: Shape,
    plane: &mut Plane<'_>,
    model: &mut Model,
    coder: &mut Decoder<'_>,
) -> Result<Vec<i32>, Error> {
    let mut levels = Vec::new();
    if shape.n_levels() == Some(0) {
        return Ok(levels);
    }
    let mut row = vec![0; shape.cols];
    for _ in 0..shape.rows {
        plane.code_row(model, coder, &mut row);
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
    Ok(levels)
}

#[cfg(test)]
mod tests;
