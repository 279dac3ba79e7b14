use super::*;
use crate::op::*;
use crate::reference::{Array, evaluate};
use crate::{DType, Dim, Op, Tensor, Weight};

/// A network with what each pass looks for.
fn untidy() -> Graph {
    let mut b = GraphBuilder::new("untidy");
    let x = b.input(
        "x",
        DType::F32,
        vec![Dim::batch(), Dim::Fixed(3), Dim::Fixed(6), Dim::Fixed(6)],
    );
    let values = |shape: &[usize], seed| crate::cases::values(shape, seed);
    let positive = |shape: &[usize], seed| {
        let v: Vec<f32> = values(shape, seed)
            .values::<f32>()
            .unwrap()
            .iter()
            .map(|v| v + 1.5)
            .collect();
        Tensor::new(shape, v).unwrap()
    };
    let w1 = b.weight("w1", values(&[4, 3, 3, 3], 1));
    let bias = b.weight("bias", values(&[4], 2));
    let w2 = b.weight("w2", values(&[4, 4, 1, 1], 3));
    // An exporter's trick: two layers share a bias through an identity.
    let shared = b.node("shared", Op::identity(), &[bias]);
    let h = b.node("conv1", Op::Conv(Conv::default()), &[x, w1, bias]);
    let [gamma, beta, mean] = [4, 5, 6].map(|i| b.constant(&format!("n{i}"), values(&[4], i)));
    let var = b.constant("var", positive(&[4], 7));
    let norm = Op::BatchNorm(BatchNorm::default());
    let h = b.node("norm", norm.clone(), &[h, gamma, beta, mean, var]);
    let h = b.node(
        "relu",
        Op::Unary(Unary::new(elementwise::UnaryKind::Relu)),
        &[h],
    );
    let a = b.node("conv2", Op::Conv(Conv::default()), &[h, w2, shared]);
    let again = b.node("again", Op::Conv(Conv::default()), &[h, w2, bias]);
    let sum = b.node("sum", Op::Binary(Binary::Add), &[a, again]);
    let c2 = b.constant("two", Tensor::scalar(2f32));
    let c3 = b.constant("three", Tensor::scalar(3f32));
    let six = b.node("six", Op::Binary(Binary::Mul), &[c2, c3]);
    let scaled = b.node("scaled", Op::Binary(Binary::Mul), &[sum, six]);
    b.node("unused", Op::identity(), &[sum]);
    // A shape that is computed.
    let shape = b.node(
        "shape",
        Op::Late(Late::Shape { start: 0, end: 1 }),
        &[scaled],
    );
    let rest = b.constant("rest", Tensor::new(&[1], vec![-1i64]).unwrap());
    let target = b.node(
        "target",
        Op::Layout(Layout::Concat { axis: 0 }),
        &[shape, rest],
    );
    let y = b.node(
        "y",
        Op::Late(Late::Reshape { allow_zero: false }),
        &[scaled, target],
    );
    b.output(y);
    b.finish().unwrap()
}

fn outputs(g: &Graph, n: usize) -> Vec<Array> {
    let x = Array::from(&crate::cases::values(&[n, 3, 6, 6], 9));
    evaluate(g, &[x]).unwrap()
}

fn nearly_equal(a: &Array, b: &Array) -> bool {
    let close = |(x, y): (&f64, &f64)| (x - y).abs() <= 1e-5 * y.abs().max(1.0);
    a.shape == b.shape && a.values.iter().zip(&b.values).all(close)
}

#[test]
fn passes_change_the_text_as_written_down_and_not_the_outputs() {
    let graph = untidy();
    let types = graph.input_types(2);
    let results = [
        ("fold_constants", fold_constants(&graph).unwrap()),
        ("drop_identities", drop_identities(&graph).unwrap()),
        ("fold_batch_norms", fold_batch_norms(&graph).unwrap()),
        ("drop_dead", drop_dead(&graph).unwrap()),
        ("merge_common", merge_common(&graph).unwrap()),
        ("simplify", simplify(&graph).unwrap()),
        ("specialise", specialise(&graph, &types).unwrap()),
    ];
    let mut text = format!("before\n{graph}");
    let expected = outputs(&graph, 2);
    for (name, g) in &results {
        text += &format!("\n{name}\n{g}");
        assert!(nearly_equal(&outputs(g, 2)[0], &expected[0]), "{name}");
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pass/golden.txt");
    if std::env::var_os("BANTAM_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    assert!(
        text == stored,
        "the dumps differ from {}:\n{text}",
        path.display()
    );
}

#[test]
fn a_shared_bias_is_one_constant_again() {
    let g = simplify(&untidy()).unwrap();
    assert!(g.nodes().iter().all(|n| n.op != Op::identity()));
    assert!(!g.nodes().iter().any(|n| matches!(n.op, Op::BatchNorm(_))));
    let convs = g.nodes().iter().filter(|n| matches!(n.op, Op::Conv(_)));
    assert!(
        convs
            .clone()
            .all(|n| g.parameter(g.value_name(n.inputs[2])).is_some())
    );
    assert_eq!(convs.count(), 2, "the two equal convolutions are one");
}

#[test]
fn masked_weights_are_not_folded_and_outputs_keep_their_names() {
    let g = untidy().map_weights(|name, p| {
        let Weight::Dense(t) = &p.weight else {
            return Ok(None);
        };
        Ok((name == "w1").then(|| {
            let keep = (0..t.len()).map(|i| i % 2 == 0).collect();
            Weight::Masked(crate::Masked::new(t, keep).unwrap())
        }))
    });
    let simple = simplify(&g.unwrap()).unwrap();
    assert!(
        simple
            .nodes()
            .iter()
            .any(|n| matches!(n.op, Op::BatchNorm(_)))
    );
    assert_eq!(simple.value_name(simple.outputs()[0]), "y");
}

/// Integers that a layer reads stay what they are; what is computed from others is a constant, as it was.
#[test]
fn stored_integers_are_decoded_where_something_is_computed_from_them() {
    let mut b = GraphBuilder::new("bytes");
    let x = b.input("x", DType::F32, vec![Dim::batch(), Dim::Fixed(2)]);
    let scale = b.constant("scale", Tensor::scalar(0.5f32));
    let zero = b.constant("zero", Tensor::scalar(1i8));
    let (role, axis) = (QuantizeRole::Dequantize, 0);
    let decoded = |b: &mut GraphBuilder, name: &str, values: [i8; 4]| {
        let w = b.constant(name, Tensor::new(&[2, 2], values.to_vec()).unwrap());
        let name = format!("{name}.numbers");
        b.node(
            &name,
            Op::Quantize(Quantize { role, axis }),
            &[w, scale, zero],
        )
    };
    let read = decoded(&mut b, "read", [1, 2, 3, 4]);
    let computed = decoded(&mut b, "computed", [5, 7, -1, 1]);
    let negative = b.node(
        "negative",
        Op::Unary(Unary::new(elementwise::UnaryKind::Neg)),
        &[computed],
    );
    let product = Op::MatMul(MatMul::default());
    let h = b.node("h", product.clone(), &[x, read]);
    let y = b.node("y", product, &[h, negative]);
    b.output(y);
    let graph = b.finish().unwrap();
    let types = graph.input_types(3);
    for g in [
        specialise(&graph, &types).unwrap(),
        fold_constants(&graph).unwrap(),
    ] {
        let g = drop_dead(&g).unwrap();
        let names: Vec<_> = g.nodes().iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["read.numbers", "h", "y"]);
        let folded = g.parameter("negative").expect("a constant").weight.tensor();
        assert_eq!(folded.values::<f32>().unwrap(), [-2.0, -3.0, 1.0, 0.0]);
        let x = Array::from(&crate::cases::values(&[3, 2], 5));
        let out = |g: &Graph| evaluate(g, std::slice::from_ref(&x)).unwrap();
        assert_eq!(out(&g), out(&graph));
    }
}
