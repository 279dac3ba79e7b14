//! What the tests of several files share.

/// Numbers in -1..1 that are the same in every run (xorshift).
pub(crate) fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// What a sum of so many products of [`numbers`] may lose: the partial sums grow as the root of
/// their number and so does the sum of their roundings.
pub(crate) fn tolerance(terms: usize) -> f32 {
    f32::EPSILON * (16 + terms) as f32
}

/// Asserts `|a - b| <= tolerance * (1 + |b|)` for each element.
#[track_caller]
pub(crate) fn assert_close(name: &str, a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len(), "{name}: lengths");
    for (i, (&a, &b)) in a.iter().zip(b).enumerate() {
        let close = a == b || (a - b).abs() <= tolerance * (1.0 + b.abs());
        assert!(close, "{name}: element {i} is {a}, expected {b}");
    }
}

/// Asserts that `f` gives the same bits on pools of one, two and three threads, and returns them.
#[track_caller]
pub(crate) fn same_on_any_pool(name: &str, f: impl Fn() -> Vec<f32> + Send + Sync) -> Vec<f32> {
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("a pool can be built").install(&f)
    };
    let first = run(1);
    for threads in [2, 3] {
        assert!(
            bits(&run(threads)) == bits(&first),
            "{name}: {threads} threads differ from one"
        );
    }
    first
}
