//! The coded profiles: quantized and masked weights as levels under an entropy coder, everything
//! else packed into bits.
//!
//! The level of an element is its codebook entry, numbered outwards from zero, or whether a mask
//! keeps it. Levels are coded by [`weights`] all together, or by [`deep_compression`] each weight
//! by itself. A weight of several axes is a matrix with a row for each index of the first axis.

use bantam_codec::bits::BitWriter;
use bantam_codec::weights::{Matrix, Shape};
use bantam_codec::{deep_compression, entropy_order0, weights};
use bantam_core::{Codebook, DType, Data, Graph, Masked, Tensor, Weight};
use crc32fast::Hasher;

use super::codebooks::{CodebookReader, CodebookWriter, is_in_order, n_negative};
use super::floats::{Bits, read_block, write_block};
use super::graph::{Form, Slot, named_weights};
use super::layout::{self, Layout};
use super::text::{Part, Sink, Source};
use super::{Coder, Payload};
use crate::checkpoint::{append, parse};
use crate::{Error, Result};

/// The levels of one weight, as the coder sees them.
#[derive(Debug)]
struct Levels {
    layout: Layout,
    min: i32,
    max: i32,
    values: Vec<i32>,
}

impl Levels {
    fn shape(&self) -> Shape {
        Shape {
            rows: self.layout.rows,
            cols: self.layout.cols,
            stride: self.layout.stride,
            min_level: self.min,
            max_level: self.max,
        }
    }

    fn matrix(&self) -> Matrix<'_> {
        Matrix::new(self.shape(), &self.values).expect("levels are in range by construction")
    }
}

/// The indices of the coded weights, in the order of coding: matrices first, so that each follows
/// the layer before it.
fn order<'a>(forms: impl Iterator<Item = (Form, &'a [usize])>) -> Vec<usize> {
    let coded = forms
        .enumerate()
        .filter_map(|(i, (form, shape))| match form {
            Form::Masked | Form::Codebook => Some((i, shape.len() > 1)),
            Form::Dense(_) => None,
        });
    let (matrices, vectors): (Vec<_>, Vec<_>) = coded.partition(|(_, is_matrix)| *is_matrix);
    matrices
        .into_iter()
        .chain(vectors)
        .map(|(i, _)| i)
        .collect()
}

/// Appends what the header must know, and the numbers; returns the coded levels. `hasher` takes in
/// the levels.
pub(super) fn write(
    graph: &Graph,
    coder: Coder,
    sink: &mut Sink,
    numbers: &mut BitWriter,
    hasher: &mut Hasher,
) -> Result<Vec<u8>> {
    let mut codebooks = CodebookWriter::default();
    let all = named_weights(graph);
    for &(name, weight) in &all {
        write_numbers(weight, numbers, &mut codebooks).map_err(|e| e.at(format!("{name:?}")))?;
    }
    let order = order(all.iter().map(|(_, w)| (Form::of(w), w.shape())));
    let mut coded: Vec<Levels> = order.iter().map(|&i| levels(all[i].1)).collect();
    let mut payload = Vec::new();
    if coder == Coder::ContextMixing {
        let mut previous_rows = None;
        for levels in &mut coded {
            let candidates = layout::candidates(levels.layout, previous_rows);
            previous_rows = Some(levels.layout.rows);
            let best = best_layout(levels, &candidates);
            levels.values = best.apply(&levels.values);
            levels.layout = best;
            if !best.is_vector() {
                sink.size(best.code())?;
            }
        }
        let matrices: Vec<Matrix<'_>> = coded.iter().map(Levels::matrix).collect();
        if !matrices.is_empty() {
            payload = weights::encode(&matrices);
        }
    } else {
        for levels in &coded {
            let code = deep_compression::encode_best(&levels.values);
            sink.size(code.len())?;
            payload.extend(code);
        }
    }
    coded.iter().for_each(|levels| hash(hasher, &levels.values));
    Ok(payload)
}

fn hash(hasher: &mut Hasher, levels: &[i32]) {
    for chunk in levels.chunks(4096) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|l| l.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
}

/// The levels of a masked weight or one with a codebook.
fn levels(weight: &Weight) -> Levels {
    let layout = Layout::of(weight.shape());
    match weight {
        Weight::Masked(m) => {
            let values = m.keep().iter().map(|&k| i32::from(k)).collect();
            Levels {
                layout,
                min: 0,
                max: 1,
                values,
            }
        }
        Weight::Codebook(c) => {
            let n_negative = n_negative(c.entries());
            let level = |&index: &u8| match usize::from(index) {
                0 => 0,
                i if i <= n_negative => i as i32 - n_negative as i32 - 1,
                i => (i - n_negative) as i32,
            };
            let (min, max) = range(c.entries());
            Levels {
                layout,
                min,
                max,
                values: c.indices().iter().map(level).collect(),
            }
        }
        Weight::Dense(_) => unreachable!("dense weights have no levels"),
    }
}

/// The lowest and the highest level of a codebook in storage order.
fn range(entries: &[f32]) -> (i32, i32) {
    let n_negative = n_negative(entries);
    (
        -(n_negative as i32),
        (entries.len() - 1 - n_negative) as i32,
    )
}

/// The layout under which the weight alone, or the start of a large one, has the shortest code.
fn best_layout(levels: &Levels, candidates: &[Layout]) -> Layout {
    const MAX_TRIAL: usize = 1 << 17;
    let size = |layout: &Layout| {
        let n_rows = layout.rows.min((MAX_TRIAL / layout.cols.max(1)).max(1));
        let mut values = layout.apply(&levels.values);
        values.truncate(n_rows * layout.cols);
        let layout = layout.with_rows(n_rows);
        let trial = Levels {
            layout,
            min: levels.min,
            max: levels.max,
            values,
        };
        weights::encode(&[trial.matrix()]).len()
    };
    match candidates {
        [only] => *only,
        _ => *candidates
            .iter()
            .min_by_key(|c| size(c))
            .expect("there is a candidate"),
    }
}

fn write_numbers(
    weight: &Weight,
    numbers: &mut BitWriter,
    codebooks: &mut CodebookWriter,
) -> Result<()> {
    match weight {
        Weight::Dense(t) => write_dense(t, numbers),
        Weight::Masked(m) => {
            let kept = m
                .values()
                .values::<f32>()?
                .iter()
                .zip(m.keep())
                .filter(|(_, k)| **k);
            let kept: Vec<f32> = kept.map(|(v, _)| *v).collect();
            let n = u32::try_from(kept.len()).ok().filter(|&n| n < u32::MAX);
            numbers.write_exp_golomb(n.ok_or_else(|| Error::unstorable("too many elements"))?);
            write_block(numbers, &kept);
        }
        Weight::Codebook(c) => {
            if !is_in_order(c.entries()) {
                return Err(Error::unstorable(
                    "codebook entries are not 0 and then ascending: round the graph for storage",
                ));
            }
            codebooks.write(numbers, c.entries());
        }
    }
    Ok(())
}

fn write_dense(t: &Tensor, numbers: &mut BitWriter) {
    match t.data() {
        Data::F32(v) => write_block(numbers, v),
        Data::F64(v) => v.iter().for_each(|x| write_wide(numbers, x.to_bits(), 64)),
        Data::I64(v) => {
            let folded = |x: &i64| (x << 1 ^ x >> 63) as u64;
            let n_bits = v
                .iter()
                .map(|x| 64 - folded(x).leading_zeros())
                .max()
                .unwrap_or(0);
            numbers.write(u64::from(n_bits), 7);
            v.iter()
                .for_each(|x| write_wide(numbers, folded(x), n_bits));
        }
        Data::U8(v) => v.iter().for_each(|&x| numbers.write(u64::from(x), 8)),
        Data::F16(_)
        | Data::BF16(_)
        | Data::I8(_)
        | Data::I16(_)
        | Data::I32(_)
        | Data::U16(_)
        | Data::U32(_)
        | Data::U64(_)
        | Data::Bool(_) => {
            let mut bytes = Vec::new();
            append(t.data(), &mut bytes);
            bytes.iter().for_each(|&b| numbers.write(u64::from(b), 8));
        }
    }
}

fn write_wide(numbers: &mut BitWriter, value: u64, n_bits: u32) {
    numbers.write(value >> 32, n_bits.saturating_sub(32));
    numbers.write(value & 0xFFFF_FFFF, n_bits.min(32));
}

fn read_wide(numbers: &mut Bits<'_>, n_bits: u32) -> Result<u64> {
    let high = numbers.read(n_bits.saturating_sub(32))?;
    Ok(high << 32 | numbers.read(n_bits.min(32))?)
}

/// What the header says of the levels.
#[derive(Debug)]
pub(super) struct Plan {
    coder: Coder,
    /// Slots in the order of coding.
    order: Vec<usize>,
    layouts: Vec<Layout>,
    /// Bytes of each code, if each weight has its own.
    lens: Vec<usize>,
}

impl Plan {
    pub(super) fn read(source: &mut Source<'_>, coder: Coder, slots: &[&Slot]) -> Result<Plan> {
        let order = order(slots.iter().map(|s| (s.form, &s.shape[..])));
        let (mut layouts, mut lens) = (Vec::new(), Vec::new());
        for &i in &order {
            let mut layout = Layout::of(&slots[i].shape);
            if coder == Coder::DeepCompression {
                lens.push(source.size()?);
            } else if !layout.is_vector() {
                layout = layout.with_code(source.size()?)?;
            }
            layouts.push(layout);
        }
        Ok(Plan {
            coder,
            order,
            layouts,
            lens,
        })
    }
}

/// A weight of which the levels are missing.
#[derive(Debug)]
enum Draft {
    Done(Weight),
    Masked(Vec<f32>),
    Codebook(Vec<f32>),
}

/// Reads the numbers of all slots, then decodes the levels.
pub(super) fn read(
    plan: &Plan,
    slots: &[(&str, &Slot)],
    numbers: &mut Bits<'_>,
    payload: &mut Payload<'_>,
    max_elements: u64,
) -> Result<Drafts> {
    let mut codebooks = CodebookReader::default();
    let mut drafts = Vec::new();
    for (name, slot) in slots {
        let draft = read_draft(slot, numbers, &mut codebooks);
        drafts.push(draft.map_err(|e| e.at(format!("{name:?}")))?);
        let part = match slot.form {
            Form::Dense(_) if slot.shape.len() < 2 => Part::Borrowed("biases"),
            Form::Dense(_) | Form::Masked => format!("weights: {name} (values)").into(),
            Form::Codebook => "codebooks".into(),
        };
        numbers.mark(part);
    }
    let shapes = plan.order.iter().zip(&plan.layouts).map(|(&i, layout)| {
        let (min_level, max_level) = match &drafts[i] {
            Draft::Codebook(entries) => range(entries),
            Draft::Masked(_) | Draft::Done(_) => (0, 1),
        };
        let Layout {
            rows, cols, stride, ..
        } = *layout;
        Shape {
            rows,
            cols,
            stride,
            min_level,
            max_level,
        }
    });
    let shapes: Vec<Shape> = shapes.collect();
    let levels = decode(plan, &shapes, payload, max_elements)?;
    Ok(Drafts {
        drafts,
        shapes,
        levels,
    })
}

/// Decoded weights that are not put together.
pub(super) struct Drafts {
    drafts: Vec<Draft>,
    shapes: Vec<Shape>,
    levels: Vec<Vec<i32>>,
}

fn decode(
    plan: &Plan,
    shapes: &[Shape],
    payload: &mut Payload<'_>,
    max_elements: u64,
) -> Result<Vec<Vec<i32>>> {
    match plan.coder {
        Coder::ContextMixing if shapes.is_empty() => Ok(Vec::new()),
        Coder::ContextMixing => {
            let max_levels = usize::try_from(max_elements).unwrap_or(usize::MAX);
            let code = payload.take_rest();
            Ok(weights::decode(code, shapes, max_levels)?)
        }
        Coder::DeepCompression => {
            let mut all = Vec::new();
            for (shape, &len) in shapes.iter().zip(&plan.lens) {
                let code = payload.take(len)?;
                let levels = deep_compression::decode(code, shape.rows * shape.cols)?;
                if levels
                    .iter()
                    .any(|l| !(shape.min_level..=shape.max_level).contains(l))
                {
                    return Err(Error::corrupt("a level that is not in its codebook"));
                }
                all.push(levels);
            }
            Ok(all)
        }
        Coder::Store => unreachable!("the profile without a coder has no plan"),
    }
}

impl Drafts {
    pub(super) fn hash(&self, hasher: &mut Hasher) {
        self.levels.iter().for_each(|levels| hash(hasher, levels));
    }

    /// Parts of the code of `n_bytes` and where each ends, if the ends are known well enough: the
    /// code of the weights up to one, and of their positions and magnitudes alone, is what the
    /// coder makes of them. Large networks are not coded again; their code is shared out by the
    /// order-0 entropy of their levels.
    pub(super) fn ends(&self, plan: &Plan, n_bytes: u64) -> Vec<(usize, &'static str, u64)> {
        const MAX_AGAIN: usize = 1 << 22;
        if plan.coder == Coder::DeepCompression {
            let end = |i: usize| plan.lens[..=i].iter().sum::<usize>() as u64;
            return plan
                .order
                .iter()
                .enumerate()
                .map(|(i, &slot)| (slot, "", end(i)))
                .collect();
        }
        let n = self.levels.len();
        let n_again: usize = self
            .levels
            .iter()
            .enumerate()
            .map(|(i, l)| l.len() * (n - i))
            .sum();
        if n_again.saturating_add(n * n) > MAX_AGAIN {
            return self.ends_by_entropy(plan, n_bytes);
        }
        let sizes = |level: fn(i32) -> i32| {
            let levels = self
                .levels
                .iter()
                .map(|levels| levels.iter().map(|&l| level(l)).collect());
            let levels: Vec<Vec<i32>> = levels.collect();
            let size = |i: usize| code_len(&self.shapes[..=i], &levels[..=i]);
            (0..n).map(size).collect::<Vec<u64>>()
        };
        let (positions, magnitudes, all) =
            (sizes(|l| i32::from(l != 0)), sizes(i32::abs), sizes(|l| l));
        let before = |sizes: &[u64], i: usize| if i == 0 { 0 } else { sizes[i - 1] };
        let grown = |sizes: &[u64], i: usize| sizes[i].saturating_sub(before(sizes, i));
        let mut ends = Vec::new();
        for (i, &slot) in plan.order.iter().enumerate() {
            let start = before(&all, i);
            ends.push((slot, " (positions)", start + grown(&positions, i)));
            ends.push((slot, " (magnitudes)", start + grown(&magnitudes, i)));
            ends.push((slot, " (signs)", all[i]));
        }
        ends
    }

    fn ends_by_entropy(&self, plan: &Plan, n_bytes: u64) -> Vec<(usize, &'static str, u64)> {
        let bits = |levels: &Vec<i32>| entropy_order0(levels) * levels.len() as f64;
        let bits: Vec<f64> = self.levels.iter().map(bits).collect();
        let total = bits.iter().sum::<f64>().max(1.0);
        let end = |i: usize| (bits[..=i].iter().sum::<f64>() / total * n_bytes as f64) as u64;
        plan.order
            .iter()
            .enumerate()
            .map(|(i, &slot)| (slot, "", end(i)))
            .collect()
    }

    /// Puts the weights together.
    pub(super) fn finish(self, plan: &Plan, slots: &[(&str, &Slot)]) -> Result<Vec<Weight>> {
        let mut drafts = self.drafts;
        for ((&i, layout), levels) in plan.order.iter().zip(&plan.layouts).zip(self.levels) {
            let levels = layout.undo(levels);
            let (name, slot) = slots[i];
            let weight = match &drafts[i] {
                Draft::Masked(kept) => masked(&slot.shape, kept, &levels),
                Draft::Codebook(entries) => codebook(&slot.shape, entries, &levels),
                Draft::Done(_) => unreachable!("only weights with levels are in the plan"),
            };
            drafts[i] = Draft::Done(weight.map_err(|e| e.at(format!("{name:?}")))?);
        }
        let weights = drafts.into_iter().map(|draft| match draft {
            Draft::Done(weight) => weight,
            Draft::Masked(_) | Draft::Codebook(_) => unreachable!("all levels were decoded"),
        });
        Ok(weights.collect())
    }
}

/// Bytes of the code of these matrices; levels may be outside the range of their shape.
fn code_len(shapes: &[Shape], levels: &[Vec<i32>]) -> u64 {
    let shape = |(shape, levels): (&Shape, &Vec<i32>)| Shape {
        min_level: levels.iter().copied().min().unwrap_or(0).min(0),
        max_level: levels.iter().copied().max().unwrap_or(0).max(0),
        ..*shape
    };
    let shapes: Vec<Shape> = shapes.iter().zip(levels).map(shape).collect();
    let matrix = |(&shape, levels)| Matrix::new(shape, levels).expect("the range was measured");
    let matrices: Vec<Matrix<'_>> = shapes
        .iter()
        .zip(levels.iter().map(Vec::as_slice))
        .map(matrix)
        .collect();
    weights::encode(&matrices).len() as u64
}

fn masked(shape: &[usize], kept: &[f32], levels: &[i32]) -> Result<Weight> {
    if levels.iter().filter(|&&l| l != 0).count() != kept.len() {
        return Err(Error::corrupt(
            "a mask keeps another number of values than there are",
        ));
    }
    let mut kept = kept.iter();
    let mut value = |&l: &i32| match l {
        0 => 0.0,
        _ => *kept.next().expect("they were counted"),
    };
    let values = Tensor::new(shape, levels.iter().map(&mut value).collect())?;
    Ok(Weight::Masked(Masked::new(
        &values,
        levels.iter().map(|&l| l != 0).collect(),
    )?))
}

fn codebook(shape: &[usize], entries: &[f32], levels: &[i32]) -> Result<Weight> {
    let n_negative = n_negative(entries) as i32;
    let index = |&l: &i32| match l {
        0 => 0,
        l if l < 0 => l + n_negative + 1,
        l => l + n_negative,
    };
    let indices = levels.iter().map(|l| index(l) as u8).collect();
    Ok(Weight::Codebook(Codebook::new(
        shape,
        entries.to_vec(),
        indices,
    )?))
}

fn read_draft(
    slot: &Slot,
    numbers: &mut Bits<'_>,
    codebooks: &mut CodebookReader,
) -> Result<Draft> {
    match slot.form {
        Form::Dense(dtype) => {
            let data = read_dense(dtype, slot.len(), numbers)?;
            Ok(Draft::Done(Weight::Dense(Tensor::from_data(
                &slot.shape,
                data,
            )?)))
        }
        Form::Masked => {
            let n = numbers.read_exp_golomb()? as usize;
            if n > slot.len() {
                return Err(Error::corrupt("more values are kept than there are"));
            }
            Ok(Draft::Masked(read_block(numbers, n)?))
        }
        Form::Codebook => Ok(Draft::Codebook(codebooks.read(numbers)?)),
    }
}

fn read_dense(dtype: DType, len: usize, numbers: &mut Bits<'_>) -> Result<Data> {
    match dtype {
        DType::F32 => Ok(Data::F32(read_block(numbers, len)?)),
        DType::F64 => {
            numbers.expect(len, 64)?;
            let one = |_| Ok(f64::from_bits(read_wide(numbers, 64)?));
            Ok(Data::F64((0..len).map(one).collect::<Result<_>>()?))
        }
        DType::I64 => {
            let n_bits = numbers.read(7)? as u32;
            if n_bits > 64 {
                return Err(Error::corrupt("integers of more than 64 bits"));
            }
            numbers.expect(len, n_bits)?;
            let one = |_| {
                let folded = read_wide(numbers, n_bits)?;
                Ok((folded >> 1) as i64 ^ -((folded & 1) as i64))
            };
            Ok(Data::I64((0..len).map(one).collect::<Result<_>>()?))
        }
        DType::U8 => {
            numbers.expect(len, 8)?;
            let one = |_| Ok(numbers.read(8)? as u8);
            Ok(Data::U8((0..len).map(one).collect::<Result<_>>()?))
        }
        DType::F16
        | DType::BF16
        | DType::I8
        | DType::I16
        | DType::I32
        | DType::U16
        | DType::U32
        | DType::U64
        | DType::Bool => {
            let n_bytes = len.saturating_mul(dtype.size_bytes());
            numbers.expect(n_bytes, 8)?;
            let one = |_| Ok(numbers.read(8)? as u8);
            let bytes: Vec<u8> = (0..n_bytes).map(one).collect::<Result<_>>()?;
            Ok(parse(dtype, &bytes))
        }
    }
}
