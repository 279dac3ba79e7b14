//! Kernels beside their slow twins, on the layers of LeNet-300-100, LeNet-5 and ResNet-20.
//!
//! `cargo bench -p bantam-kernels [-- FILTER] [--threads N] [--no-twins] [--precision bf16]`
//!
//! A row has median and least time of a call, its mean time on the processor, its rate (from the
//! least), the share of the peak (of one core, measured first by a loop of nothing but fused
//! multiply-adds, times threads), and the time of the slow twin, run once. Batch 128, `f32`; `--precision` is of the
//! operands of products and convolutions, as far as it rounds them, and the peak stays that of `f32`.

mod layers;
mod steps;

use std::hint::black_box;
use std::time::{Duration, Instant};

use bantam_kernels as kernels;
use bantam_kernels::{ConvShape, MatRef, PoolShape, Precision, SgdStep, reference};

const BATCH: usize = 128;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let mut bench = Bench {
        filter: String::new(),
        twins: true,
        precision: Precision::F32,
        peak: 1.0,
    };
    let mut threads = 1;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--threads" => threads = args.next().and_then(|n| n.parse().ok()).expect("a number"),
            "--no-twins" => bench.twins = false,
            "--precision" => {
                let all = [Precision::F32, Precision::Bf16, Precision::F16];
                let name = args.next().expect("a precision");
                let known = all.into_iter().find(|p| p.name() == name);
                bench.precision = known.expect("f32, bf16 or f16");
            }
            _ => bench.filter = arg,
        }
    }
    let one_core = kernels::peak_flops() / 1e9;
    bench.peak = one_core * threads as f64;
    println!(
        "{:?}, {threads} thread(s), one core's peak {one_core:.0} GFLOP/s",
        kernels::level()
    );
    println!(
        "{:<30} {:>10} {:>10} {:>10} {:>8} {:>7} {:>10}",
        "kernel", "median us", "min us", "cpu us", "GFLOP/s", "of peak", "twin us"
    );
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("a pool");
    pool.install(|| {
        products(&bench);
        convolutions(&bench);
        pooling(&bench);
        the_rest(&bench);
        steps(&bench);
        layers::layers(&bench);
    });
}

struct Bench {
    filter: String,
    twins: bool,
    precision: Precision,
    /// GFLOP/s of all threads.
    peak: f64,
}

impl Bench {
    /// Whether a row, or one whose name begins like this, is asked for.
    fn wants(&self, name: &str) -> bool {
        name.contains(&self.filter) || self.filter.starts_with(name)
    }

    fn row(&self, name: &str, ops: usize, mut fast: impl FnMut(), twin: impl FnOnce()) {
        if !name.contains(&self.filter) {
            return;
        }
        let Times {
            median,
            least,
            on_cpu,
        } = time(&mut fast);
        let rate = ops as f64 / least.as_secs_f64() / 1e9;
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        let share = 100.0 * rate / self.peak;
        let on_cpu = on_cpu.map_or(String::from("-"), |time| format!("{:.1}", us(time)));
        print!(
            "{name:<30} {:>10.1} {:>10.1} {on_cpu:>10}",
            us(median),
            us(least)
        );
        print!(" {rate:>8.1} {share:>6.1}%");
        if self.twins {
            let start = Instant::now();
            twin();
            match us(start.elapsed()) {
                time if time < 1.0 => print!(" {:>10}", "-"),
                time => print!(" {time:>10.0}"),
            }
        }
        println!();
    }
}

/// Times of a call, over half a second or ten calls.
struct Times {
    median: Duration,
    least: Duration,
    /// Mean time on the processor, where the system tells and there is one thread: on a busy
    /// machine the fairest of the three.
    on_cpu: Option<Duration>,
}

fn time(f: &mut impl FnMut()) -> Times {
    f();
    let alone = rayon::current_num_threads() == 1;
    let (start, before) = (Instant::now(), alone.then(time_on_cpu).flatten());
    let mut times = Vec::new();
    while times.len() < 10 || (start.elapsed() < Duration::from_millis(500) && times.len() < 1000) {
        let start = Instant::now();
        f();
        times.push(start.elapsed());
    }
    let spent = before.and_then(|before| Some(time_on_cpu()? - before));
    let on_cpu = spent.map(|spent| spent / times.len() as u32);
    times.sort();
    Times {
        median: times[times.len() / 2],
        least: times[0],
        on_cpu,
    }
}

/// How long this thread has run (Linux only).
fn time_on_cpu() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ')
        .next()?
        .parse()
        .ok()
        .map(Duration::from_nanos)
}

/// Numbers in -1..1.
fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn products(bench: &Bench) {
    for (inputs, outputs) in [(784, 300), (300, 100), (100, 10), (800, 500), (500, 10)] {
        let (x, w) = (numbers(BATCH * inputs, 1), numbers(outputs * inputs, 2));
        let (dy, bias) = (numbers(BATCH * outputs, 3), numbers(outputs, 4));
        let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.clone());
        let ops = 2 * BATCH * inputs * outputs;
        bench.row(
            &format!("dense {inputs}-{outputs}"),
            ops,
            || {
                let size = [BATCH, inputs, outputs];
                let y = black_box(&mut y);
                bench.precision.dense(size, &x, &w, Some(&bias), y);
            },
            || reference::dense(BATCH, inputs, outputs, &x, &w, Some(&bias), &mut dy.clone()),
        );
        let (rows, weights) = (
            MatRef::row_major(&dy, outputs),
            MatRef::row_major(&w, inputs),
        );
        bench.row(
            &format!("dense {inputs}-{outputs} dx"),
            ops,
            || {
                let size = [BATCH, inputs, outputs];
                bench
                    .precision
                    .matmul(size, rows, weights, black_box(&mut dx));
            },
            || reference::matmul(BATCH, inputs, outputs, rows, weights, &mut x.clone(), false),
        );
        let (columns, values) = (
            MatRef::transposed(&dy, outputs),
            MatRef::row_major(&x, inputs),
        );
        bench.row(
            &format!("dense {inputs}-{outputs} dw"),
            ops,
            || {
                let size = [outputs, inputs, BATCH];
                bench
                    .precision
                    .matmul(size, columns, values, black_box(&mut dw));
            },
            || {
                reference::matmul(
                    outputs,
                    inputs,
                    BATCH,
                    columns,
                    values,
                    &mut w.clone(),
                    false,
                )
            },
        );
    }
}

fn square(c_in: usize, size: usize, c_out: usize, k: usize, stride: usize) -> ConvShape {
    let pad = if k == 5 && c_in != c_out { 0 } else { k / 2 };
    ConvShape {
        n: BATCH,
        c_in,
        h: size,
        w: size,
        c_out,
        kernel: [k; 2],
        stride: [stride; 2],
        padding: [pad; 4],
        dilation: [1; 2],
        groups: 1,
    }
}

fn convolutions(bench: &Bench) {
    let depthwise = |c, size, k, stride| ConvShape {
        groups: c,
        ..square(c, size, c, k, stride)
    };
    let layers = [
        ("lenet 1-20 5x5 28", square(1, 28, 20, 5, 1)),
        ("lenet 20-50 5x5 12", square(20, 12, 50, 5, 1)),
        ("resnet 3-16 3x3 32", square(3, 32, 16, 3, 1)),
        ("resnet 16-16 3x3 32", square(16, 32, 16, 3, 1)),
        ("resnet 16-32 3x3 32 /2", square(16, 32, 32, 3, 2)),
        ("resnet 32-32 3x3 16", square(32, 16, 32, 3, 1)),
        ("resnet 32-64 3x3 16 /2", square(32, 16, 64, 3, 2)),
        ("resnet 64-64 3x3 8", square(64, 8, 64, 3, 1)),
        ("pointwise 80-80 32", square(80, 32, 80, 1, 1)),
        ("depthwise 80 3x3 32", depthwise(80, 32, 3, 1)),
        ("depthwise 80 5x5 32", depthwise(80, 32, 5, 1)),
        ("depthwise 96 7x7 16", depthwise(96, 16, 7, 1)),
        ("depthwise 80 3x3 32 /2", depthwise(80, 32, 3, 2)),
    ];
    for (name, shape) in layers {
        if ![name, &format!("{name} dx"), &format!("{name} dw")]
            .iter()
            .any(|n| bench.wants(n))
        {
            continue;
        }
        let (x, w) = (numbers(shape.x_len(), 1), numbers(shape.w_len(), 2));
        let (dy, bias) = (numbers(shape.y_len(), 3), numbers(shape.c_out, 4));
        let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.clone());
        let ops = 2 * shape.y_len() * shape.w_len() / shape.c_out;
        bench.row(
            name,
            ops,
            || {
                let y = black_box(&mut y);
                bench.precision.conv(&shape, &x, &w, Some(&bias), y);
            },
            || reference::conv(&shape, &x, &w, Some(&bias), &mut dy.clone()),
        );
        bench.row(
            &format!("{name} dx"),
            ops,
            || {
                let dx = black_box(&mut dx);
                bench.precision.conv_grad_input(&shape, &dy, &w, dx);
            },
            || reference::conv_grad_input(&shape, &dy, &w, &mut x.clone()),
        );
        bench.row(
            &format!("{name} dw"),
            ops,
            || {
                let dw = black_box(&mut dw);
                bench.precision.conv_grad_weight(&shape, &x, &dy, dw);
            },
            || reference::conv_grad_weight(&shape, &x, &dy, &mut w.clone()),
        );
    }
}

fn pool2(c: usize, size: usize) -> PoolShape {
    let (kernel, stride, padding) = ([2; 2], [2; 2], [0; 4]);
    PoolShape {
        n: BATCH,
        c,
        h: size,
        w: size,
        kernel,
        stride,
        padding,
    }
}

fn pooling(bench: &Bench) {
    let three = PoolShape {
        kernel: [3; 2],
        padding: [1; 4],
        ..pool2(16, 32)
    };
    let global = PoolShape {
        kernel: [8; 2],
        stride: [1; 2],
        ..pool2(64, 8)
    };
    let layers = [
        ("2x2 20x24", pool2(20, 24)),
        ("2x2 50x8", pool2(50, 8)),
        ("3x3 /2 16x32", three),
    ];
    for (name, shape) in layers.into_iter().chain([("8x8 64x8", global)]) {
        let (x, dy) = (numbers(shape.x_len(), 1), numbers(shape.y_len(), 2));
        let (mut y, mut dx) = (dy.clone(), x.clone());
        let ops = shape.y_len() * shape.kernel[0] * shape.kernel[1];
        bench.row(
            &format!("max pool {name}"),
            ops,
            || kernels::max_pool(&shape, &x, black_box(&mut y)),
            || reference::max_pool(&shape, &x, &mut dy.clone()),
        );
        bench.row(
            &format!("max pool {name} dx"),
            ops,
            || kernels::max_pool_grad(&shape, &x, &dy, black_box(&mut dx)),
            || reference::max_pool_grad(&shape, &x, &dy, &mut x.clone()),
        );
        bench.row(
            &format!("average pool {name}"),
            ops,
            || kernels::average_pool(&shape, true, &x, black_box(&mut y)),
            || reference::average_pool(&shape, true, &x, &mut dy.clone()),
        );
        bench.row(
            &format!("average pool {name} dx"),
            ops,
            || kernels::average_pool_grad(&shape, true, &dy, black_box(&mut dx)),
            || reference::average_pool_grad(&shape, true, &dy, &mut x.clone()),
        );
    }
}

fn the_rest(bench: &Bench) {
    let [n, c, s] = [BATCH, 16, 1024];
    let len = n * c * s;
    let (a, b, c_values) = (numbers(len, 1), numbers(len, 2), numbers(c, 3));
    let mut y = vec![0.0; len];
    let naive = |f: fn(f32) -> f32| a.iter().map(|&a| f(a)).collect::<Vec<_>>();
    bench.row(
        "relu 2M",
        len,
        || kernels::map(&a, black_box(&mut y), |x| if x > 0.0 { x } else { 0.0 }),
        || drop(black_box(naive(|x| x.max(0.0)))),
    );
    bench.row(
        "exp 2M",
        len,
        || kernels::map(&a, black_box(&mut y), kernels::exp),
        || drop(black_box(naive(f32::exp))),
    );
    bench.row(
        "sigmoid 2M",
        len,
        || kernels::map(&a, black_box(&mut y), kernels::sigmoid),
        || drop(black_box(naive(|x| 1.0 / (1.0 + (-x).exp())))),
    );
    bench.row(
        "tanh 2M",
        len,
        || kernels::map(&a, black_box(&mut y), kernels::tanh),
        || drop(black_box(naive(f32::tanh))),
    );
    let shape = [n, c, s];
    let add = |a: f32, b: f32| a + b;
    bench.row(
        "add 2M",
        len,
        || kernels::zip_map(&a, &b, black_box(&mut y), add),
        || {
            drop(black_box(
                a.iter().zip(&b).map(|(a, b)| a + b).collect::<Vec<_>>(),
            ))
        },
    );
    let (strides, channel) = ([c * s, s, 1], [0, 1, 0]);
    bench.row(
        "add channel 2M",
        len,
        || {
            kernels::broadcast_zip(
                &shape,
                &a,
                &strides,
                &c_values,
                &channel,
                black_box(&mut y),
                add,
            )
        },
        || {
            reference::broadcast_zip(
                &shape,
                &a,
                &strides,
                &c_values,
                &channel,
                &mut b.clone(),
                add,
            )
        },
    );
    bench.row(
        "permute 128x16x1024 to nhwc",
        len,
        || kernels::permute(&shape, &[0, 2, 1], &a, black_box(&mut y)),
        || reference::permute(&shape, &[0, 2, 1], &a, &mut b.clone()),
    );
    let (ones, mut mean, mut var) = (vec![1.0; c], vec![0.0; c], vec![1.0; c]);
    let (mut dg, mut db) = (vec![0.0; c], vec![0.0; c]);
    let affine = kernels::Affine {
        gamma: &ones,
        beta: &ones,
        epsilon: 1e-5,
        clamp: None,
    };
    let twin = || {
        drop(black_box(reference::batch_norm_train(
            [n, c, s],
            &a,
            &ones,
            &ones,
            1e-5,
        )))
    };
    bench.row(
        "batch norm train 128x16x1024",
        len,
        || {
            let (y, mean, var) = (black_box(&mut y), &mut mean, &mut var);
            kernels::batch_norm_train([n, c, s], &a, affine, y, [mean, var]);
        },
        twin,
    );
    bench.row(
        "batch norm grad 128x16x1024",
        len,
        || {
            let (dx, dg, db) = (black_box(&mut y), &mut dg, &mut db);
            kernels::batch_norm_grad([n, c, s], &a, affine, [&ones; 2], &b, dx, [dg, db]);
        },
        || (),
    );
    let clamped = kernels::Affine {
        clamp: Some(kernels::last::Clamp::RELU),
        ..affine
    };
    bench.row(
        "batch norm + ReLU grad 128x16x1024",
        len,
        || {
            let (dx, dg, db) = (black_box(&mut y), &mut dg, &mut db);
            kernels::batch_norm_grad([n, c, s], &a, clamped, [&ones; 2], &b, dx, [dg, db]);
        },
        || (),
    );
    bench.row(
        "sum channels 128x16x1024",
        len,
        || kernels::sum_axis(n * c, s, 1, &a, black_box(&mut y[..n * c])),
        || reference::sum_axis(n * c, s, 1, &a, &mut b.clone()[..n * c]),
    );
    bench.row(
        "sum rows 128x16384",
        len,
        || kernels::sum_axis(1, n, c * s, &a, black_box(&mut y[..c * s])),
        || reference::sum_axis(1, n, c * s, &a, &mut b.clone()[..c * s]),
    );
    let indices: Vec<i64> = b[..266_000]
        .iter()
        .map(|b| ((b + 1.0) * 7.99) as i64)
        .collect();
    let (mut book, values) = (vec![0.0; 16], &a[..266_000]);
    bench.row(
        "scatter 266k into 16",
        values.len(),
        || kernels::scatter_add(16, 1, values, &indices, black_box(&mut book)),
        || reference::scatter_add(1, values, &indices, &mut [0.0; 16]),
    );
    bench.row(
        "gather 266k from 16",
        values.len(),
        || kernels::gather_rows(16, 1, &c_values, &indices, black_box(&mut y[..266_000])),
        || reference::gather_rows(1, &c_values, &indices, &mut b.clone()[..266_000]),
    );
    let step = SgdStep {
        lr: 1e-9,
        momentum: 0.9,
        nesterov: false,
        weight_decay: 1e-4,
    };
    let (mut w, mut velocity) = (a[..430_500].to_vec(), vec![0.0; 430_500]);
    bench.row(
        "sgd 430k",
        6 * w.len(),
        || kernels::sgd(&step, &mut w, &b[..430_500], black_box(&mut velocity), None),
        || (),
    );
}

/// Whole steps have no twin here.
fn steps(bench: &Bench) {
    let (mut mlp, mut lenet) = (steps::Mlp::new(), steps::LeNet::new());
    let step = || {
        black_box(mlp.step());
    };
    bench.row("step LeNet-300-100", steps::Mlp::OPS, step, || ());
    let step = || {
        black_box(lenet.step());
    };
    bench.row("step LeNet-5", steps::LeNet::OPS, step, || ());
}
