//! The loops over the values of a few images, channel by channel.

use crate::last::Clamp;
use crate::simd::{MAX_LANES, Simd, WithSimd};

/// Two sums for each channel.
pub(super) type Sums = Vec<[f64; 2]>;

/// Elements summed in `f32` before they go into an `f64`.
const RUN: usize = 4096;

/// `(x - mean) scale + beta`, by channel.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) mean: &'a [f32],
    pub(super) scale: &'a [f32],
    /// May be empty where nobody asks for values.
    pub(super) beta: &'a [f32],
}

/// `(x - mean) scale + beta` of one channel.
#[derive(Clone, Copy)]
struct Channel<S: Simd> {
    simd: S,
    minus_mean: S::V,
    scale: S::V,
    beta: S::V,
}

impl<S: Simd> Channel<S> {
    #[inline(always)]
    fn new(simd: S, line: Line, j: usize) -> Channel<S> {
        let beta = line.beta.get(j).copied().unwrap_or(0.0);
        Channel {
            simd,
            minus_mean: simd.splat(-line.mean[j]),
            scale: simd.splat(line.scale[j]),
            beta: simd.splat(beta),
        }
    }

    /// A channel in each lane, those from `at` on.
    #[inline(always)]
    fn row(simd: S, line: Line, at: usize) -> Channel<S> {
        let part = |v: &[f32]| simd.load_slice(v.get(at..).unwrap_or_default());
        Channel {
            simd,
            minus_mean: simd.mul_add(part(line.mean), simd.splat(-1.0), simd.splat(0.0)),
            scale: part(line.scale),
            beta: part(line.beta),
        }
    }

    #[inline(always)]
    fn centred(&self, x: S::V) -> S::V {
        self.simd.add(x, self.minus_mean)
    }

    #[inline(always)]
    fn value(&self, from_mean: S::V) -> S::V {
        self.simd.mul_add(from_mean, self.scale, self.beta)
    }
}

/// Bounds in vectors.
#[derive(Clone, Copy)]
struct Bounds<V> {
    low: V,
    high: V,
}

impl<V> Bounds<V> {
    #[inline(always)]
    fn new<S: Simd<V = V>>(simd: S, clamp: Option<Clamp>) -> Bounds<V> {
        let clamp = clamp.unwrap_or(Clamp::NONE);
        Bounds {
            low: simd.splat(clamp.low),
            high: simd.splat(clamp.high),
        }
    }
}

/// Mean of each channel of some images, `x: [images, c, s]`, and the sum of the squares about it.
pub(super) struct Moments<'a> {
    pub(super) c: usize,
    pub(super) s: usize,
    pub(super) x: &'a [f32],
}

impl WithSimd for Moments<'_> {
    type Output = Sums;

    /// Sums are about the mean of the first image: of so few images, the mean of one is within three
    /// standard deviations of that of all, so squares lose no more than a digit.
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Sums {
        let Moments { c, s, x } = self;
        if c * s == 0 {
            return vec![[0.0; 2]; c];
        }
        let first = x[..c * s].chunks_exact(s);
        let shift: Vec<f32> = match s {
            1 => x[..c].to_vec(),
            _ => first
                .map(|x| (sums(simd, x, 0.0)[0] / s as f64) as f32)
                .collect(),
        };
        let mut total: Sums = vec![[0.0; 2]; c];
        for image in x.chunks_exact(c * s) {
            if s == 1 {
                for ((total, &x), &shift) in total.iter_mut().zip(image).zip(&shift) {
                    let x = f64::from(x - shift);
                    *total = [total[0] + x, total[1] + x * x];
                }
                continue;
            }
            for ((total, x), &shift) in total.iter_mut().zip(image.chunks_exact(s)).zip(&shift) {
                let [sum, square] = sums(simd, x, shift);
                *total = [total[0] + sum, total[1] + square];
            }
        }
        let count = (x.len() / c) as f64;
        for ([mean, square], &shift) in total.iter_mut().zip(&shift) {
            *square -= *mean * *mean / count;
            *mean = *mean / count + f64::from(shift);
        }
        total
    }
}

/// Sums of `x - shift` and of its squares.
#[inline(always)]
fn sums<S: Simd>(simd: S, x: &[f32], shift: f32) -> [f64; 2] {
    let minus = simd.splat(-shift);
    accumulate(
        simd,
        x,
        x,
        #[inline(always)]
        |x, _| {
            let d = simd.add(x, minus);
            (d, d)
        },
        #[inline(always)]
        |x, _| (x - shift, x - shift),
    )
}

/// Sums of `a` and of `a b` for the pairs that `f` makes of elements of `x` and `y`; `g` is `f` for one
/// element. Partial sums are short, and added up in a fixed order.
#[inline(always)]
fn accumulate<S: Simd>(
    simd: S,
    x: &[f32],
    y: &[f32],
    f: impl Fn(S::V, S::V) -> (S::V, S::V),
    g: impl Fn(f32, f32) -> (f32, f32),
) -> [f64; 2] {
    let mut total = [0.0; 2];
    for (x, y) in x.chunks(RUN).zip(y.chunks(RUN)) {
        let wide = x.len() / (SIDE * S::LANES) * (SIDE * S::LANES);
        let whole = x.len() / S::LANES * S::LANES;
        let a = lanes::<S, SIDE>(simd, &x[..wide], &y[..wide], &f);
        let b = lanes::<S, 1>(simd, &x[wide..whole], &y[wide..whole], &f);
        let mut rest = [0.0f32; 2];
        for (&x, &y) in x[whole..].iter().zip(&y[whole..]) {
            let (a, b) = g(x, y);
            rest = [rest[0] + a, rest[1] + a * b];
        }
        total[0] += f64::from(simd.sum(simd.add(a.0, b.0))) + f64::from(rest[0]);
        total[1] += f64::from(simd.sum(simd.add(a.1, b.1))) + f64::from(rest[1]);
    }
    total
}

/// The sums of [`accumulate`] over whole vectors, `N` of them at a time. They leave here only when done,
/// or they would live in memory.
#[inline(always)]
fn lanes<S: Simd, const N: usize>(
    simd: S,
    x: &[f32],
    y: &[f32],
    f: impl Fn(S::V, S::V) -> (S::V, S::V),
) -> (S::V, S::V) {
    let (mut sums, mut dots) = ([simd.splat(0.0); N], [simd.splat(0.0); N]);
    let pairs = x
        .chunks_exact(N * S::LANES)
        .zip(y.chunks_exact(N * S::LANES));
    for (x, y) in pairs {
        for i in 0..N {
            let at = i * S::LANES..(i + 1) * S::LANES;
            let (a, b) = f(simd.load_slice(&x[at.clone()]), simd.load_slice(&y[at]));
            sums[i] = simd.add(sums[i], a);
            dots[i] = simd.mul_add(a, b, dots[i]);
        }
    }
    for i in 1..N {
        sums[0] = simd.add(sums[0], sums[i]);
        dots[0] = simd.add(dots[0], dots[i]);
    }
    (sums[0], dots[0])
}

/// Vectors side by side, so that one addition need not wait for the last.
const SIDE: usize = 4;

/// `y = clamp((x - mean) scale + beta)` for some images.
pub(super) struct Apply<'a> {
    pub(super) s: usize,
    pub(super) x: &'a [f32],
    pub(super) line: Line<'a>,
    pub(super) clamp: Option<Clamp>,
    pub(super) y: &'a mut [f32],
}

impl WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.clamp {
            None => self.planes::<S, false>(simd),
            Some(_) => self.planes::<S, true>(simd),
        }
    }
}

impl Apply<'_> {
    #[inline(always)]
    fn planes<S: Simd, const CLAMPED: bool>(self, simd: S) {
        let Apply {
            s,
            x,
            line,
            clamp,
            y,
        } = self;
        let bounds = Bounds::new(simd, clamp);
        let c = line.mean.len();
        if s == 1 {
            for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
                for at in (0..c).step_by(S::LANES) {
                    let channel = Channel::row(simd, line, at);
                    let v = channel.value(channel.centred(simd.load_slice(&x[at..])));
                    store(simd, clamped::<S, CLAMPED>(simd, v, bounds), &mut y[at..]);
                }
            }
            return;
        }
        for (i, (x, y)) in x.chunks_exact(s).zip(y.chunks_exact_mut(s)).enumerate() {
            let channel = Channel::new(simd, line, i % c);
            for (x, y) in x.chunks(S::LANES).zip(y.chunks_mut(S::LANES)) {
                let v = channel.value(channel.centred(simd.load_slice(x)));
                simd.store_slice(y, clamped::<S, CLAMPED>(simd, v, bounds));
            }
        }
    }
}

/// As many lanes as there is room for.
#[inline(always)]
fn store<S: Simd>(simd: S, v: S::V, y: &mut [f32]) {
    let len = y.len().min(S::LANES);
    simd.store_slice(&mut y[..len], v);
}

#[inline(always)]
fn clamped<S: Simd, const CLAMPED: bool>(simd: S, v: S::V, bounds: Bounds<S::V>) -> S::V {
    match CLAMPED {
        true => simd.min(simd.max(v, bounds.low), bounds.high),
        false => v,
    }
}

/// Sums of `dy` and of `dy (x - mean)` for each channel of some images, over the values that a gate lets
/// through.
pub(super) struct GradSums<'a> {
    pub(super) s: usize,
    pub(super) x: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) line: Line<'a>,
    pub(super) gate: Option<Clamp>,
}

impl WithSimd for GradSums<'_> {
    type Output = Sums;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Sums {
        match self.gate {
            None => self.planes::<S, false>(simd),
            Some(_) => self.planes::<S, true>(simd),
        }
    }
}

impl GradSums<'_> {
    #[inline(always)]
    fn planes<S: Simd, const GATED: bool>(self, simd: S) -> Sums {
        let GradSums {
            s,
            x,
            dy,
            line,
            gate,
        } = self;
        let bounds = Bounds::new(simd, gate);
        let c = line.mean.len();
        let mut total: Sums = vec![[0.0; 2]; c];
        if s == 0 {
            return total;
        }
        if s == 1 {
            for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact(c)) {
                for at in (0..c).step_by(S::LANES) {
                    let channel = Channel::row(simd, line, at);
                    let from_mean = channel.centred(simd.load_slice(&x[at..]));
                    let dy = simd.load_slice(&dy[at..]);
                    let dy = gated::<S, GATED>(channel, from_mean, dy, bounds);
                    let (mut sums, mut dots) = ([0.0; MAX_LANES], [0.0; MAX_LANES]);
                    simd.store_slice(&mut sums[..S::LANES], dy);
                    simd.store_slice(&mut dots[..S::LANES], from_mean);
                    for (total, (dy, x)) in total[at..]
                        .iter_mut()
                        .zip(sums.iter().zip(&dots))
                        .take(S::LANES)
                    {
                        *total = [total[0] + f64::from(*dy), total[1] + f64::from(dy * x)];
                    }
                }
            }
            return total;
        }
        let scalar = Scalar { line, gate };
        let all = [x, dy];
        for (i, (x, dy)) in x.chunks_exact(s).zip(dy.chunks_exact(s)).enumerate() {
            let j = i % c;
            prefetch_next(simd, s, i, all);
            let channel = Channel::new(simd, line, j);
            let [sum, dot] = accumulate(
                simd,
                dy,
                x,
                #[inline(always)]
                |dy, x| {
                    let from_mean = channel.centred(x);
                    let dy = gated::<S, GATED>(channel, from_mean, dy, bounds);
                    (dy, from_mean)
                },
                #[inline(always)]
                |dy, x| scalar.pair(simd, j, dy, x),
            );
            total[j] = [total[j][0] + sum, total[j][1] + dot];
        }
        total
    }
}

/// Asks for plane `i + 1` of both. A plane is often just a page, where the processor's own prefetching
/// stops.
#[inline(always)]
fn prefetch_next<S: Simd>(simd: S, s: usize, i: usize, both: [&[f32]; 2]) {
    for x in both {
        simd.prefetch(x.get((i + 1) * s..(i + 2) * s).unwrap_or_default());
    }
}

/// One element at a time, rounded as the vectors are.
#[derive(Clone, Copy)]
struct Scalar<'a> {
    line: Line<'a>,
    gate: Option<Clamp>,
}

impl Scalar<'_> {
    /// `dy` where the gate lets it through, and `x - mean`.
    #[inline(always)]
    fn pair<S: Simd>(&self, simd: S, j: usize, dy: f32, x: f32) -> (f32, f32) {
        let channel = Channel::new(simd, self.line, j);
        let from_mean = channel.centred(simd.splat(x));
        let dy = match self.gate {
            None => simd.splat(dy),
            gate => gated::<S, true>(channel, from_mean, simd.splat(dy), Bounds::new(simd, gate)),
        };
        let first = |v| {
            let mut one = [0.0];
            simd.store_slice(&mut one, v);
            one[0]
        };
        (first(dy), first(from_mean))
    }
}

#[inline(always)]
fn gated<S: Simd, const GATED: bool>(
    channel: Channel<S>,
    from_mean: S::V,
    dy: S::V,
    bounds: Bounds<S::V>,
) -> S::V {
    match GATED {
        true => channel
            .simd
            .between(channel.value(from_mean), bounds.low, bounds.high, dy),
        false => dy,
    }
}

/// `dx = a dy + b (x - mean) + d` for some images, with the factors `[a, b, d]` of each channel.
pub(super) struct GradApply<'a> {
    pub(super) s: usize,
    pub(super) x: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) line: Line<'a>,
    pub(super) gate: Option<Clamp>,
    pub(super) factors: &'a [[f32; 3]],
    pub(super) dx: &'a mut [f32],
}

impl WithSimd for GradApply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.gate {
            None => self.planes::<S, false>(simd),
            Some(_) => self.planes::<S, true>(simd),
        }
    }
}

impl GradApply<'_> {
    #[inline(always)]
    fn planes<S: Simd, const GATED: bool>(self, simd: S) {
        let GradApply {
            s,
            x,
            dy,
            line,
            gate,
            factors,
            dx,
        } = self;
        let bounds = Bounds::new(simd, gate);
        if s == 1 {
            let c = factors.len();
            let rows = x
                .chunks_exact(c)
                .zip(dy.chunks_exact(c))
                .zip(dx.chunks_exact_mut(c));
            let factor = |i: usize| factors.iter().map(|f| f[i]).collect::<Vec<f32>>();
            let factors = [0, 1, 2].map(factor);
            for ((x, dy), dx) in rows {
                for at in (0..c).step_by(S::LANES) {
                    let channel = Channel::row(simd, line, at);
                    let from_mean = channel.centred(simd.load_slice(&x[at..]));
                    let dy = simd.load_slice(&dy[at..]);
                    let dy = gated::<S, GATED>(channel, from_mean, dy, bounds);
                    let [a, b, d] = factors.each_ref().map(|f| simd.load_slice(&f[at..]));
                    store(
                        simd,
                        simd.mul_add(a, dy, simd.mul_add(b, from_mean, d)),
                        &mut dx[at..],
                    );
                }
            }
            return;
        }
        let all = [x, dy];
        let planes = x
            .chunks_exact(s)
            .zip(dy.chunks_exact(s))
            .zip(dx.chunks_exact_mut(s));
        for (i, ((x, dy), dx)) in planes.enumerate() {
            let j = i % factors.len();
            prefetch_next(simd, s, i, all);
            let channel = Channel::new(simd, line, j);
            let [a, b, d] = factors[j].map(|f| simd.splat(f));
            let vectors = x
                .chunks(S::LANES)
                .zip(dy.chunks(S::LANES))
                .zip(dx.chunks_mut(S::LANES));
            for ((x, dy), dx) in vectors {
                let from_mean = channel.centred(simd.load_slice(x));
                let dy = simd.load_slice(dy);
                let dy = gated::<S, GATED>(channel, from_mean, dy, bounds);
                let v = simd.mul_add(a, dy, simd.mul_add(b, from_mean, d));
                simd.store_slice(dx, v);
            }
        }
    }
}
