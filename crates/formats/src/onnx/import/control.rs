//! Choices and loops: graphs inside nodes.

use std::collections::BTreeSet;

use bantam_core::op::{Control, Layout};
use bantam_core::{DType, Dim, Graph, Op, Tensor, ValueId};

use super::context::{Attributes, Context, Imported, Info, maybe, need, unsupported};
use super::import_node;
use crate::onnx::schema::{GraphDef, NodeDef, Value, ValueKind};
use crate::onnx::tensors::dtype;
use crate::{Error, Result};

type Inputs<'i> = &'i [Option<ValueId>];

pub(super) fn import<'a>(
    c: &mut Context<'_, 'a>,
    op: &str,
    a: &Attributes<'_, 'a>,
    x: Inputs,
) -> Imported {
    match op {
        "If" => choice(c, a, x),
        "Loop" => repetition(c, a, x),
        "Scan" => scan(c, a, x),
        _ => Ok(None),
    }
}

/// Names that a graph reads from outside.
fn free_names<'g>(g: &'g GraphDef, found: &mut BTreeSet<&'g str>) {
    let inside = g
        .inputs
        .iter()
        .map(|v| v.name)
        .chain(g.initializers.iter().map(|t| t.name));
    let inside: BTreeSet<&str> = inside
        .chain(
            g.nodes
                .iter()
                .flat_map(|n: &NodeDef| n.outputs.iter().copied()),
        )
        .collect();
    let mut used = BTreeSet::new();
    for node in &g.nodes {
        used.extend(node.inputs.iter().copied());
        for a in &node.attributes {
            if let Value::Graph(g) = &a.value {
                free_names(g, &mut used);
            }
        }
    }
    used.extend(g.outputs.iter().map(|o| o.name));
    found.extend(
        used.into_iter()
            .filter(|n| !n.is_empty() && !inside.contains(n)),
    );
}

/// What graphs inside read from outside: name, value, and what is known of it.
fn captures(c: &Context, graphs: &[&GraphDef]) -> Vec<(String, ValueId, Info)> {
    let mut names = BTreeSet::new();
    graphs.iter().for_each(|g| free_names(g, &mut names));
    let found = |name: &&str| {
        c.try_lookup(name)
            .map(|v| (name.to_string(), v, c.info(v).clone()))
    };
    // A name that is not there is noticed, with its node, when the graph inside reads it.
    names.iter().filter_map(found).collect()
}

/// An input that a body declares: its element type where the file says it, else that of what it is
/// given.
fn declared(g: &GraphDef, i: usize, given: DType) -> Result<(String, DType)> {
    let input = g
        .inputs
        .get(i)
        .ok_or_else(|| Error::corrupt(format!("the graph inside has no input {i}")))?;
    match input.kind {
        ValueKind::Tensor { data_type, .. } if data_type != 0 => {
            Ok((input.name.to_owned(), dtype(data_type)?))
        }
        ValueKind::Other(what) => Err(unsupported(format!("a {what} is not supported"))),
        _ => Ok((input.name.to_owned(), given)),
    }
}

/// A graph inside, with inputs of its own declared first and captures after them.
fn inside<'a>(
    c: &mut Context<'_, 'a>,
    g: &GraphDef<'a>,
    name: &str,
    own: impl FnOnce(&mut Context<'_, 'a>) -> Result<()>,
    captured: &[(String, ValueId, Info)],
) -> Result<(Graph, Vec<ValueId>)> {
    let mut inner = Context::new(c.file, name);
    own(&mut inner)?;
    let mut read = Vec::new();
    for (name, value, info) in captured {
        // Whether it becomes an input depends only on what is known outside: both branches agree.
        if inner.capture(name, info)? {
            read.push(*value);
        }
    }
    inner.initializers(g)?;
    for node in &g.nodes {
        import_node(&mut inner, node)?;
    }
    Ok((inner.finish(&g.outputs)?, read))
}

fn choice<'a>(c: &mut Context<'_, 'a>, a: &Attributes<'_, 'a>, x: Inputs) -> Imported {
    let (yes, no) = (a.graph("then_branch")?, a.graph("else_branch")?);
    let captured = captures(c, &[yes, no]);
    let (then, read) = inside(c, yes, "then", |_| Ok(()), &captured)?;
    let (otherwise, _) = inside(c, no, "otherwise", |_| Ok(()), &captured)?;
    if then.output_dtypes() != otherwise.output_dtypes() {
        return Err(unsupported("branches that give values of different types"));
    }
    let n = then.outputs().len();
    let mut inputs = vec![need(x, 0)?];
    inputs.extend(read);
    let control = Control::If {
        then: Box::new(then),
        otherwise: Box::new(otherwise),
    };
    Ok(Some(c.nodes(Op::Control(control), &inputs, n)))
}

fn repetition<'a>(c: &mut Context<'_, 'a>, a: &Attributes<'_, 'a>, x: Inputs) -> Imported {
    let g = a.graph("body")?;
    let n_states = x.len().saturating_sub(2);
    let most = match maybe(x, 0) {
        Some(most) => most,
        None => c.new_constant("most", Tensor::scalar(i64::MAX)),
    };
    let condition = match maybe(x, 1) {
        Some(condition) => condition,
        None => c.new_constant("always", Tensor::scalar(true)),
    };
    let mut inputs = vec![most, condition];
    let mut own = vec![declared(g, 0, DType::I64)?, declared(g, 1, DType::Bool)?];
    for i in 0..n_states {
        let state = need(x, i + 2)?;
        own.push(declared(g, i + 2, c.dtype(state))?);
        inputs.push(state);
    }
    let captured = captures(c, &[g]);
    let declare = |inner: &mut Context<'_, 'a>| {
        for (name, dtype) in &own {
            inner.open_input(name, *dtype, vec![Dim::Rest])?;
        }
        Ok(())
    };
    let (body, read) = inside(c, g, "body", declare, &captured)?;
    inputs.extend(read);
    let n = body.outputs().len().saturating_sub(1);
    if n < n_states {
        return Err(Error::corrupt(
            "the body gives fewer values than it is handed",
        ));
    }
    let control = Control::Loop {
        body: Box::new(body),
        n_states,
    };
    Ok(Some(c.nodes(Op::Control(control), &inputs, n)))
}

/// A scan is a loop whose body takes a slice of each scanned value.
fn scan<'a>(c: &mut Context<'_, 'a>, a: &Attributes<'_, 'a>, x: Inputs) -> Imported {
    let g = a.graph("body")?;
    let n_scanned = a.int_or("num_scan_inputs", 0)?;
    let n_scanned = usize::try_from(n_scanned)
        .ok()
        .filter(|&n| n > 0 && n <= x.len());
    let n_scanned = n_scanned.ok_or_else(|| Error::corrupt("num_scan_inputs is out of range"))?;
    if c.opset() < 9 {
        return Err(unsupported(
            "scans of operator set 8, which have a batch of their own",
        ));
    }
    let n_states = x.len() - n_scanned;
    let list = |name: &str| -> Result<Vec<i64>> { Ok(a.ints(name)?.unwrap_or_default()) };
    let (in_axes, out_axes) = (list("scan_input_axes")?, list("scan_output_axes")?);
    let (in_ways, out_ways) = (
        list("scan_input_directions")?,
        list("scan_output_directions")?,
    );
    let at = |list: &[i64], i: usize| list.get(i).copied().unwrap_or(0);
    let mut states = Vec::new();
    let mut own = Vec::new();
    for i in 0..x.len() {
        let v = need(x, i)?;
        own.push((declared(g, i, c.dtype(v))?, i, v));
        states.push(v);
    }
    let first = states[n_states];
    let steps = c.size(first, at(&in_axes, 0));
    let steps = c.reshape(steps, &[]);
    let always = c.new_constant("always", Tensor::scalar(true));
    let captured = captures(c, &[g]);
    let scanned_dtypes: Vec<DType> = states[n_states..].iter().map(|&v| c.dtype(v)).collect();
    // The body: iteration, condition and states as a loop has them, then the whole scanned values
    // and the number of steps, of which each iteration takes its slice.
    let mut inner = Context::new(c.file, "body");
    let iteration = inner.open_input("scan.iteration", DType::I64, Vec::new())?;
    let condition = inner.open_input("scan.condition", DType::Bool, Vec::new())?;
    for ((name, dtype), i, _) in &own {
        if *i < n_states {
            inner.open_input(name, *dtype, vec![Dim::Rest])?;
        }
    }
    let mut wholes = Vec::new();
    for (i, &dtype) in scanned_dtypes.iter().enumerate() {
        wholes.push(inner.open_input(&format!("scan.whole.{i}"), dtype, vec![Dim::Rest])?);
    }
    let total = inner.open_input("scan.steps", DType::I64, Vec::new())?;
    let mut read = Vec::new();
    for (name, value, info) in &captured {
        if inner.capture(name, info)? {
            read.push(*value);
        }
    }
    for (i, &whole) in wholes.iter().enumerate() {
        let index = match at(&in_ways, i) {
            0 => iteration,
            _ => {
                let one = inner.scalar(1.0, DType::I64);
                let last = inner.sub(total, one);
                inner.sub(last, iteration)
            }
        };
        let part = inner.gather(whole, index, at(&in_axes, i));
        inner.define(&own[n_states + i].0.0, part)?;
    }
    inner.initializers(g)?;
    for node in &g.nodes {
        import_node(&mut inner, node)?;
    }
    let going = inner.node(Op::identity(), &[condition]);
    inner.define("scan.going", going)?;
    let mut outputs = vec![crate::onnx::schema::ValueInfo {
        name: "scan.going",
        ..Default::default()
    }];
    outputs.extend(g.outputs.iter().cloned());
    let body = inner.finish(&outputs)?;
    let n = body.outputs().len() - 1;
    if n < n_states {
        return Err(Error::corrupt(
            "the body gives fewer values than it is handed",
        ));
    }
    let mut inputs = vec![steps, always];
    inputs.extend(&states);
    inputs.push(steps);
    inputs.extend(read);
    let control = Control::Loop {
        body: Box::new(body),
        n_states,
    };
    let mut results = c.nodes(Op::Control(control), &inputs, n);
    for (i, y) in results[n_states..].iter_mut().enumerate() {
        if at(&out_ways, i) != 0 {
            *y = c.layout(Layout::Reverse { axes: vec![0] }, *y);
        }
        if at(&out_axes, i) != 0 {
            *y = c.late(
                bantam_core::op::Late::MoveAxis {
                    from: 0,
                    to: at(&out_axes, i),
                },
                &[*y],
            );
        }
    }
    Ok(Some(results))
}
