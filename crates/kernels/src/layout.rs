//! Moving elements: permuted axes, rows gathered by index and added back.

use crate::parallel;

/// Axes a permutation can have.
const MAX_RANK: usize = 8;

/// Edge of the square blocks in which a transposition is done: a block and its image together fit
/// a level-1 cache.
const BLOCK: usize = 32;

/// Elements in one task.
const CHUNK: usize = 1 << 14;

/// `y` is `x` with its axes in the order `perm`: axis `i` of `y` is axis `perm[i]` of `x`.
///
/// `x: shape`, `y: [shape[perm[0]], shape[perm[1]], …]`, both row-major. Axes that stay neighbours
/// move as one, so that a plain transposition is found under any rank.
///
/// # Panics
/// If `perm` is no permutation of the axes, there are more than 8, or a length is wrong.
pub fn permute<T: Copy + Send + Sync>(shape: &[usize], perm: &[usize], x: &[T], y: &mut [T]) {
    let rank = shape.len();
    assert!(
        rank <= MAX_RANK,
        "a permutation is limited to {MAX_RANK} axes, not {rank}"
    );
    assert_eq!(perm.len(), rank, "a permutation names each axis once");
    let mut seen = [false; MAX_RANK];
    for &axis in perm {
        assert!(
            axis < rank && !seen[axis],
            "a permutation names each axis once, not {perm:?}"
        );
        seen[axis] = true;
    }
    let len = shape.iter().product::<usize>();
    assert!(
        x.len() == len && y.len() == len,
        "x and y must have the elements of their shape"
    );
    if len == 0 {
        return;
    }
    let axes = merge_axes(shape, perm);
    match axes.as_slice() {
        [.., last] if last.stride == 1 => copy_rows(&axes, x, y),
        _ => transpose_planes(&axes, x, y),
    }
}

/// An axis of `y`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    len: usize,
    /// Distance in `x` between neighbours along it.
    stride: usize,
}

/// Axes of `y`, without those of length 1, neighbours that walk `x` as one merged.
fn merge_axes(shape: &[usize], perm: &[usize]) -> Vec<Axis> {
    let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>();
    let mut axes: Vec<Axis> = Vec::with_capacity(shape.len().max(1));
    for &axis in perm.iter().filter(|&&axis| shape[axis] != 1) {
        let inner = Axis {
            len: shape[axis],
            stride: stride(axis),
        };
        match axes.last_mut() {
            Some(outer) if outer.stride == inner.stride * inner.len => {
                *outer = Axis {
                    len: outer.len * inner.len,
                    stride: inner.stride,
                };
            }
            _ => axes.push(inner),
        }
    }
    if axes.is_empty() {
        axes.push(Axis { len: 1, stride: 1 });
    }
    axes
}

/// Where item `i` of the axes begins in `x`.
fn offset(axes: &[Axis], mut i: usize) -> usize {
    let mut at = 0;
    for axis in axes.iter().rev() {
        at += i % axis.len * axis.stride;
        i /= axis.len;
    }
    at
}

/// The last axis stays last: whole rows are copied.
fn copy_rows<T: Copy + Send + Sync>(axes: &[Axis], x: &[T], y: &mut [T]) {
    let (row, outer) = axes.split_last().expect("there is at least one axis");
    let rows_per_task = (CHUNK / row.len).max(1);
    parallel::for_each_chunk(y, rows_per_task * row.len, x.len(), |i, y| {
        for (j, y) in y.chunks_exact_mut(row.len).enumerate() {
            let at = offset(outer, i * rows_per_task + j);
            y.copy_from_slice(&x[at..][..row.len]);
        }
    });
}

/// Some other axis becomes the last: blocks of it and of the axis that was last in `x` are
/// transposed, so that both sides use whole cache lines.
fn transpose_planes<T: Copy + Send + Sync>(axes: &[Axis], x: &[T], y: &mut [T]) {
    let (last, outer) = axes.split_last().expect("there is at least one axis");
    let contiguous = outer.iter().position(|axis| axis.stride == 1);
    // Only an axis of length 1, which merging drops, could have hidden the contiguous one.
    let contiguous = contiguous.expect("some axis of x is contiguous");
    let (before, across) = (&outer[..contiguous], outer[contiguous]);
    let between = &outer[contiguous + 1..];
    // y is [before, across, between, last].
    let n_between = between.iter().map(|axis| axis.len).product::<usize>();
    let band = n_between * last.len;
    // A task is a run of values of `across`; it holds whole bands of `y`.
    let tall = (CHUNK / band).clamp(1, BLOCK).min(across.len);
    let plane = across.len * band;
    let work = |y: &mut [T], i_before: usize, first: usize| {
        let rows = y.len() / band;
        let start = offset(before, i_before) + first;
        for i_between in 0..n_between {
            let x = &x[start + offset(between, i_between)..];
            let y = &mut y[i_between * last.len..];
            for column in (0..last.len).step_by(BLOCK) {
                let columns = column..last.len.min(column + BLOCK);
                for row in 0..rows {
                    for c in columns.clone() {
                        y[row * band + c] = x[c * last.stride + row];
                    }
                }
            }
        }
    };
    if plane < CHUNK {
        let planes_per_task = CHUNK / plane;
        parallel::for_each_chunk(y, planes_per_task * plane, x.len(), |i, y| {
            for (j, y) in y.chunks_exact_mut(plane).enumerate() {
                for (k, y) in y.chunks_mut(tall * band).enumerate() {
                    work(y, i * planes_per_task + j, k * tall);
                }
            }
        });
    } else {
        for (i, y) in y.chunks_exact_mut(plane).enumerate() {
            parallel::for_each_chunk(y, tall * band, plane, |j, y| work(y, i, j * tall));
        }
    }
}

/// Row `i` of `y` is row `indices[i]` of the table.
///
/// `table: [r, c]`, `indices: [len]` in `0..r`, `y: [len, c]`.
///
/// # Panics
/// If a length is wrong or an index is out of range.
pub fn gather_rows<T: Copy + Send + Sync>(
    r: usize,
    c: usize,
    table: &[T],
    indices: &[i64],
    y: &mut [T],
) {
    assert_eq!(table.len(), r * c, "a table must be [r, c]");
    assert_eq!(
        y.len(),
        indices.len() * c,
        "gathered rows must be [indices, c]"
    );
    let rows_per_task = (CHUNK / c.max(1)).max(1);
    parallel::for_each_chunk(y, rows_per_task * c, indices.len() * c, |i, y| {
        let indices = &indices[i * rows_per_task..];
        if c == 1 {
            for (y, &index) in y.iter_mut().zip(indices) {
                *y = table[row(index, r)];
            }
        } else {
            for (y, &index) in y.chunks_exact_mut(c).zip(indices) {
                y.copy_from_slice(&table[row(index, r) * c..][..c]);
            }
        }
    });
}

/// The gradient of [`gather_rows`]: adds row `i` of `x` to row `indices[i]` of the table.
///
/// `x: [len, c]`, `indices: [len]` in `0..r`, `table: [r, c]`, which is added to. Each element is
/// summed in a fixed order; where many rows meet in a small table (a codebook), in `f64` over fixed
/// runs.
///
/// # Panics
/// If a length is wrong or an index is out of range.
pub fn scatter_add(r: usize, c: usize, x: &[f32], indices: &[i64], table: &mut [f32]) {
    assert_eq!(table.len(), r * c, "a table must be [r, c]");
    assert_eq!(
        x.len(),
        indices.len() * c,
        "rows to scatter must be [indices, c]"
    );
    if x.is_empty() {
        return;
    }
    if r * c <= SMALL_TABLE && indices.len() >= 4 * r {
        return scatter_small(r, c, x, indices, table);
    }
    // Each task owns a run of rows and reads all indices, so order never depends on threads.
    let rows_per_task = r.div_ceil(if c >= 8 { 16 } else { 1 });
    parallel::for_each_chunk(table, rows_per_task * c, x.len(), |i, table| {
        let own = i * rows_per_task..(i * rows_per_task + table.len() / c);
        for (x, &index) in x.chunks_exact(c).zip(indices) {
            let index = row(index, r);
            if own.contains(&index) {
                let target = &mut table[(index - own.start) * c..][..c];
                target
                    .iter_mut()
                    .zip(x)
                    .for_each(|(target, &x)| *target += x);
            }
        }
    });
}

/// Elements of a table of which each run of indices can afford a copy.
const SMALL_TABLE: usize = 1024;

fn scatter_small(r: usize, c: usize, x: &[f32], indices: &[i64], table: &mut [f32]) {
    const RUN: usize = 1 << 14;
    let sums = parallel::map(indices.len().div_ceil(RUN), x.len(), |i| {
        let rows = i * RUN..indices.len().min((i + 1) * RUN);
        let mut sums = vec![0.0f64; r * c];
        if c == 1 {
            add_values(&x[rows.clone()], &indices[rows], &mut sums);
        } else {
            for (x, &index) in x[rows.start * c..].chunks_exact(c).zip(&indices[rows]) {
                let sums = &mut sums[row(index, r) * c..][..c];
                sums.iter_mut()
                    .zip(x)
                    .for_each(|(sum, &x)| *sum += f64::from(x));
            }
        }
        sums
    });
    for (j, table) in table.iter_mut().enumerate() {
        let sum = sums.iter().map(|sums| sums[j]).sum::<f64>();
        *table = (f64::from(*table) + sum) as f32;
    }
}

/// One value for each index. Four histograms take turns, or each addition would wait for the one
/// before whenever an index repeats.
fn add_values(x: &[f32], indices: &[i64], sums: &mut [f64]) {
    const TURNS: usize = 4;
    let r = sums.len();
    let mut turns = vec![0.0f64; TURNS * r];
    for (x, indices) in x.chunks(TURNS).zip(indices.chunks(TURNS)) {
        for (turn, (&x, &index)) in x.iter().zip(indices).enumerate() {
            turns[turn * r + row(index, r)] += f64::from(x);
        }
    }
    for turn in turns.chunks_exact(r) {
        sums.iter_mut()
            .zip(turn)
            .for_each(|(sum, &turn)| *sum += turn);
    }
}

#[inline(always)]
fn row(index: i64, r: usize) -> usize {
    match usize::try_from(index) {
        Ok(index) if index < r => index,
        _ => out_of_range(index, r),
    }
}

#[cold]
fn out_of_range(index: i64, r: usize) -> ! {
    panic!("index {index} is not in a table of {r} rows")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{assert_close, numbers, same_on_any_pool};

    #[test]
    fn permutations_agree_with_reference() {
        let cases: [(&[usize], &[usize]); 15] = [
            (&[], &[]),
            (&[5], &[0]),
            (&[5, 7], &[1, 0]),
            (&[33, 65], &[1, 0]),
            (&[1000, 300], &[1, 0]),
            (&[3, 1000, 40], &[0, 2, 1]),
            (&[2, 3, 4, 5], &[0, 2, 3, 1]),
            (&[2, 3, 4, 5], &[0, 3, 1, 2]),
            (&[2, 3, 4, 5], &[3, 1, 2, 0]),
            (&[2, 3, 4, 5], &[3, 2, 1, 0]),
            (&[37, 16, 32, 32], &[0, 2, 3, 1]),
            (&[8, 12, 20, 16], &[0, 2, 1, 3]),
            (&[6, 1, 5, 1], &[3, 2, 1, 0]),
            (&[2, 3, 1, 2, 3, 2, 2, 2], &[7, 0, 5, 2, 3, 4, 1, 6]),
            (&[3, 0, 2], &[2, 1, 0]),
        ];
        for (shape, perm) in cases {
            let len = shape.iter().product();
            let x: Vec<u32> = (0..len as u32).collect();
            let (mut y, mut expected) = (vec![0; len], vec![0; len]);
            permute(shape, perm, &x, &mut y);
            reference::permute(shape, perm, &x, &mut expected);
            assert!(y == expected, "{shape:?} by {perm:?}");
        }
    }

    #[test]
    fn gather_and_scatter_agree_with_reference() {
        let cases = [
            [16, 1, 266_000],
            [5, 3, 40],
            [1000, 64, 5000],
            [9, 8, 2],
            [4, 1, 3],
            [3, 5, 0],
        ];
        for [r, c, len] in cases {
            let table = numbers(r * c, 1);
            let x = numbers(len * c, 2);
            let indices: Vec<i64> = (0..len).map(|i| (i * i % r) as i64).collect();
            let name = format!("{r} {c} {len}");
            let (mut y, mut expected) = (vec![0.0; len * c], vec![0.0; len * c]);
            gather_rows(r, c, &table, &indices, &mut y);
            reference::gather_rows(c, &table, &indices, &mut expected);
            assert_eq!(y, expected, "gather {name}");
            let sums = same_on_any_pool(&name, || {
                let mut sums = table.clone();
                scatter_add(r, c, &x, &indices, &mut sums);
                sums
            });
            let mut expected = table.clone();
            reference::scatter_add(c, &x, &indices, &mut expected);
            assert_close(&name, &sums, &expected, 1e-5);
        }
    }

    #[test]
    #[should_panic(expected = "index 4 is not in a table of 4 rows")]
    fn refuses_an_index_out_of_range() {
        gather_rows(4, 1, &[0.0; 4], &[4], &mut [0.0]);
    }

    #[test]
    #[should_panic(expected = "index -1 is not in a table of 4 rows")]
    fn refuses_a_negative_index() {
        scatter_add(4, 1, &[0.0], &[-1], &mut [0.0; 4]);
    }
}
