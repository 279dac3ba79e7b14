//! Choices and loops: graphs inside nodes.

use std::collections::BTreeSet;

use bantam_core::op::{Control, Layout};
use bantam_core::order::sort_by;
use bantam_core::{DType, Dim, Graph, Op, Tensor, ValueId};

use super::context::{Attributes, Capture, Context, Imported, maybe, need, unsupported};
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

/// What graphs inside read from outside. The same value is handed in once, and the order is that of
/// the names it has in the surrounding graph: both are the same when the graph is written and read.
fn captures(c: &mut Context, graphs: &[&GraphDef]) -> Vec<Capture> {
    let mut names = BTreeSet::new();
    graphs.iter().for_each(|g| free_names(g, &mut names));
    let mut all = Vec::new();
    // A name that is not there is noticed, with its node, when the graph inside reads it.
    for name in names {
        if let Some(value) = c.try_lookup(name) {
            add_capture(c, &mut all, value, name);
        }
    }
    settle(c, &mut all, graphs.len());
    all
}

/// Puts captures in their order, and says which are copied into each of `n` graphs.
fn settle(c: &mut Context, all: &mut [Capture], n: usize) {
    sort_by(all, |a, b| a.name.cmp(&b.name));
    for capture in all {
        capture.copied = capture.copied || c.copies(capture.value, n);
    }
}

fn add_capture(c: &Context, all: &mut Vec<Capture>, value: ValueId, alias: &str) {
    match all.iter_mut().find(|known| known.value == value) {
        Some(known) => known.aliases.push(alias.to_owned()),
        None => all.push(Capture {
            value,
            name: c.name_of(value).to_owned(),
            aliases: vec![alias.to_owned()],
            info: c.info(value).clone(),
            copied: false,
        }),
    }
}

/// Hands them in; returns those that became inputs.
fn hand_in(inner: &mut Context, captured: &[Capture]) -> Result<Vec<ValueId>> {
    let mut read = Vec::new();
    for capture in captured {
        // Whether it becomes an input depends only on what is known outside: both branches agree.
        if inner.capture(capture)? {
            read.push(capture.value);
        }
    }
    Ok(read)
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
    captured: &[Capture],
) -> Result<(Graph, Vec<ValueId>)> {
    let mut inner = Context::new(c.file, name);
    own(&mut inner)?;
    let read = hand_in(&mut inner, captured)?;
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
        for (i, (name, dtype)) in own.iter().enumerate() {
            // The iteration and the condition are single values, whatever the file says.
            let dims = if i < 2 { Vec::new() } else { vec![Dim::Rest] };
            inner.open_input(name, *dtype, dims)?;
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
    // The whole scanned values and, to go backward, the number of steps are read from outside, too.
    let mut captured = captures(c, &[g]);
    for (i, &whole) in states[n_states..].iter().enumerate() {
        add_capture(c, &mut captured, whole, &format!("scan.whole.{i}"));
    }
    let backward = |i: usize| at(&in_ways, i) != 0;
    if (0..n_scanned).any(backward) {
        add_capture(c, &mut captured, steps, "scan.steps");
    }
    settle(c, &mut captured, 1);
    // The body: iteration, condition and states as a loop has them, then what it reads from outside;
    // of the whole scanned values each iteration takes its slice.
    let mut inner = Context::new(c.file, "body");
    let iteration = inner.open_input("scan.iteration", DType::I64, Vec::new())?;
    let condition = inner.open_input("scan.condition", DType::Bool, Vec::new())?;
    for ((name, dtype), i, _) in &own {
        if *i < n_states {
            inner.open_input(name, *dtype, vec![Dim::Rest])?;
        }
    }
    let read = hand_in(&mut inner, &captured)?;
    let handed = |inner: &Context, name: &str| {
        let found = inner.try_lookup(name);
        found.ok_or_else(|| Error::corrupt(format!("{name} is missing")))
    };
    for i in 0..n_scanned {
        let whole = handed(&inner, &format!("scan.whole.{i}"))?;
        let index = match backward(i) {
            false => iteration,
            true => {
                let total = handed(&inner, "scan.steps")?;
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
    inputs.extend(&states[..n_states]);
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
            *y = c.move_axis(*y, 0, at(&out_axes, i));
        }
    }
    Ok(Some(results))
}
