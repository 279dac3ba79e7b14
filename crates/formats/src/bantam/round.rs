//! Rounding to numbers that are short in a file, before anything is measured.
//!
//! Rounding is to so many significant bits, to the nearest, ties to even; it changes a number by at
//! most one part in `2^bits`. The range of exponents stays that of `f32`.

use bantam_core::schema::{Encoding, InputSchema, Schema, TargetKind};
use bantam_core::{Codebook, Data, Graph, Tensor, Weight};

use super::codebooks::grid_step;
use crate::Result;

/// Significant bits of a half-precision number.
const HALF_BITS: u32 = 11;

/// The graph as [`Coder::ContextMixing`](super::Coder) stores it in the fewest bytes without
/// noticeable change: codebook entries and dense vectors (biases, batch normalisation) rounded to
/// the 11 significant bits of half precision, codebooks in ascending order without entries that
/// nothing uses. Matrices that are dense or masked stay as they are.
pub fn round_for_storage(graph: &Graph) -> Result<Graph> {
    round_to_bits(graph, HALF_BITS)
}

/// As [`round_for_storage`], to `n_bits` significant bits, 1 to 24. Six are often enough for
/// biases and shared weights; the outputs will tell.
///
/// # Panics
/// When `n_bits` is 0 or more than 24.
pub fn round_to_bits(graph: &Graph, n_bits: u32) -> Result<Graph> {
    assert!(
        (1..=24).contains(&n_bits),
        "an f32 has 1 to 24 significant bits"
    );
    Ok(graph.map_weights(|_, p| match &p.weight {
        Weight::Codebook(c) => Ok(Some(Weight::Codebook(round_codebook(c, n_bits)?))),
        Weight::Dense(t) if t.shape().len() < 2 => Ok(round_vector(t, n_bits)?.map(Weight::Dense)),
        Weight::Dense(_) | Weight::Masked(_) => Ok(None),
    })?)
}

/// The schema with its normalisation rounded to `n_bits` significant bits, offsets to a like
/// absolute precision after scaling; for before training, since it changes what the network sees.
///
/// # Panics
/// When `n_bits` is 0 or more than 24.
pub fn round_schema(schema: &Schema, n_bits: u32) -> Schema {
    assert!(
        (1..=24).contains(&n_bits),
        "an f32 has 1 to 24 significant bits"
    );
    let round = |offset: &mut f32, scale: &mut f32| {
        *scale = round_number(*scale, n_bits);
        *offset = round_offset(*offset, *scale, n_bits);
    };
    let mut schema = schema.clone();
    match &mut schema.input {
        InputSchema::Table { columns } => {
            for column in columns {
                match &mut column.encoding {
                    Encoding::Numeric { offset, scale, .. } => round(offset, scale),
                    Encoding::OneHot { .. } => {}
                }
            }
        }
        InputSchema::Image { offset, scale, .. } => {
            offset
                .iter_mut()
                .zip(scale)
                .for_each(|(offset, scale)| round(offset, scale));
        }
        InputSchema::Array { offset, scale, .. } => round(offset, scale),
    }
    match &mut schema.target.kind {
        TargetKind::Number { offset, scale } => round(offset, scale),
        TargetKind::Classes(_) => {}
    }
    schema
}

/// `offset` to a multiple of the power of two that is at most `2^-n_bits / scale`.
fn round_offset(offset: f32, scale: f32, n_bits: u32) -> f32 {
    let step = 1.0 / f64::from(scale).abs() / f64::from(1u32 << n_bits);
    let step = f64::from_bits(step.to_bits() & !((1 << 52) - 1));
    let rounded = (f64::from(offset) / step).round() * step;
    match rounded.is_finite() {
        true => rounded as f32,
        false => offset,
    }
}

/// `x` to `n_bits` significant bits; what would become infinite stays at the largest number.
fn round_number(x: f32, n_bits: u32) -> f32 {
    let n_dropped = 24 - n_bits;
    if !x.is_finite() || n_dropped == 0 {
        return x;
    }
    let bits = x.to_bits();
    let is_odd = bits >> n_dropped & 1;
    let rounded = (bits + (1 << (n_dropped - 1)) - 1 + is_odd) >> n_dropped << n_dropped;
    let rounded = f32::from_bits(rounded);
    match rounded.is_finite() {
        true => rounded,
        false => f32::from_bits(bits >> n_dropped << n_dropped),
    }
}

fn round_vector(t: &Tensor, n_bits: u32) -> bantam_core::Result<Option<Tensor>> {
    match t.data() {
        Data::F32(v) => {
            let rounded = v.iter().map(|&x| round_number(x, n_bits)).collect();
            Ok(Some(Tensor::from_data(t.shape(), Data::F32(rounded))?))
        }
        _ => Ok(None),
    }
}

fn round_codebook(c: &Codebook, n_bits: u32) -> bantam_core::Result<Codebook> {
    let mut used = [false; 256];
    c.indices()
        .iter()
        .for_each(|&i| used[usize::from(i)] = true);
    // Grids stay grids, for which the step alone is rounded.
    let sorted = sorted(c.entries().iter().copied().filter(|e| *e != 0.0));
    let step = grid_step(&[vec![0.0], sorted].concat());
    let rounded = |e: f32| match step {
        Some(step) => (e / step).round() * round_number(step, n_bits.min(16)),
        None => round_number(e, n_bits),
    };
    let entries: Vec<f32> = c.entries().iter().map(|&e| rounded(e)).collect();
    let is_used = |(i, e): (usize, &f32)| (used[i] && *e != 0.0).then_some(*e);
    let kept = self::sorted(entries.iter().enumerate().filter_map(is_used));
    let index = |i: &u8| match entries[usize::from(*i)] {
        0.0 => 0,
        e => 1 + kept.partition_point(|k| *k < e) as u8,
    };
    let indices = c.indices().iter().map(index).collect();
    Codebook::new(c.shape(), [vec![0.0], kept].concat(), indices)
}

fn sorted(entries: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut entries: Vec<f32> = entries.collect();
    entries.sort_unstable_by(f32::total_cmp);
    entries.dedup();
    entries
}
