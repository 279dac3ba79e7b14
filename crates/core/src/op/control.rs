//! Choices and loops: operators that hold graphs.
//!
//! A held graph reads nothing from outside: what it needs of the surrounding graph are inputs of
//! its own, which the node hands in after its other inputs. So a graph stays a list of nodes, and
//! every pass may look at one graph at a time.

use super::{Family, Type, count};
use crate::{DType, Error, ErrorKind, Graph, Result, Tensor};

/// An operator that runs graphs it holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Control {
    /// `(condition, captures…) → the outputs` of one graph or the other; both read the captures.
    If {
        /// Runs where the condition holds.
        then: Box<Graph>,
        /// Runs where it does not.
        otherwise: Box<Graph>,
    },
    /// `(most, condition, states…, captures…) → (states…, collected…)`. The body reads
    /// `(iteration, condition, states…, captures…)` and gives `(condition, states…, collected…)`; it
    /// runs while the condition holds and at most `most` times. What is collected is stacked
    /// along a new first axis.
    Loop {
        /// One iteration.
        body: Box<Graph>,
        /// How many values are handed from one iteration to the next.
        n_states: usize,
    },
}

impl Control {
    /// The graphs it holds, with what they are.
    pub fn graphs(&self) -> Vec<(&'static str, &Graph)> {
        match self {
            Control::If { then, otherwise } => vec![("then", then), ("otherwise", otherwise)],
            Control::Loop { body, .. } => vec![("body", body)],
        }
    }
}

impl Family for Control {
    fn name(&self) -> &'static str {
        match self {
            Control::If { .. } => "If",
            Control::Loop { .. } => "Loop",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let text = |g: &Graph| {
            let lines: Vec<String> = g.to_string().lines().map(|l| format!("    {l}")).collect();
            format!("\n{}", lines.join("\n"))
        };
        match self {
            Control::If { then, otherwise } => {
                vec![("then", text(then)), ("otherwise", text(otherwise))]
            }
            Control::Loop { body, n_states } => {
                vec![("n_states", n_states.to_string()), ("body", text(body))]
            }
        }
    }

    fn dtypes(&self, _inputs: &[DType]) -> Vec<DType> {
        match self {
            Control::If { then, .. } => then.output_dtypes(),
            Control::Loop { body, .. } => body.output_dtypes().split_off(1),
        }
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        let n = match self {
            Control::If { then, .. } => 1 + then.inputs().len(),
            Control::Loop { body, .. } => body.inputs().len(),
        };
        count(inputs, n, n)?;
        Err(Error::new(
            ErrorKind::Late,
            "the results depend on which graph runs",
        ))
    }

    fn macs(&self, _inputs: &[Type], _outputs: &[Type]) -> u64 {
        0
    }

    fn evaluate(&self, inputs: &[&Tensor], _outputs: &[Type]) -> Result<Vec<Tensor>> {
        match self {
            Control::If { then, otherwise } => {
                let branch = if truth(inputs[0])? { then } else { otherwise };
                crate::reference::run(branch, &inputs[1..])
            }
            Control::Loop { body, n_states } => repeat(inputs, *n_states, &mut |inputs| {
                crate::reference::run(body, inputs)
            }),
        }
    }
}

/// The truth of a condition: a single Boolean.
pub fn truth(t: &Tensor) -> Result<bool> {
    match t.values::<bool>()? {
        [value] => Ok(*value),
        values => Err(Error::value(format!(
            "a condition of {} values",
            values.len()
        ))),
    }
}

/// What runs a graph inside a node: its inputs, and its outputs or what went wrong.
type Body<'a, E> = dyn FnMut(&[&Tensor]) -> std::result::Result<Vec<Tensor>, E> + 'a;

/// Runs the iterations of a [`Control::Loop`], each by `body`.
pub fn repeat<E: From<Error>>(
    inputs: &[&Tensor],
    n_states: usize,
    body: &mut Body<'_, E>,
) -> std::result::Result<Vec<Tensor>, E> {
    let most = inputs[0].to_i64s()?.first().copied().unwrap_or(i64::MAX);
    let mut holds = truth(inputs[1])?;
    let mut states: Vec<Tensor> = inputs[2..2 + n_states].iter().map(|&t| t.clone()).collect();
    let captures = &inputs[2 + n_states..];
    let mut collected: Vec<Vec<Tensor>> = Vec::new();
    let mut iteration = 0;
    while holds && iteration < most {
        let (number, condition) = (Tensor::scalar(iteration), Tensor::scalar(holds));
        let mut arguments = vec![&number, &condition];
        arguments.extend(&states);
        arguments.extend(captures);
        let mut results = body(&arguments)?.into_iter();
        let next = results
            .next()
            .ok_or_else(|| Error::value("a body without a condition"))?;
        holds = truth(&next)?;
        states = results.by_ref().take(n_states).collect();
        for (i, t) in results.enumerate() {
            match collected.get_mut(i) {
                Some(list) => list.push(t),
                None => collected.push(vec![t]),
            }
        }
        iteration += 1;
    }
    for list in collected {
        states.push(stack(&list)?);
    }
    Ok(states)
}

fn stack(list: &[Tensor]) -> Result<Tensor> {
    let first = &list[0];
    if let Some(other) = list.iter().find(|t| t.shape() != first.shape()) {
        return Err(Error::shape(format!(
            "a loop collects {:?} and then {:?}",
            first.shape(),
            other.shape()
        )));
    }
    let shape = [&[list.len()], first.shape()].concat();
    crate::each_type!(first.data(), v => {
        let mut all = v.clone();
        for t in &list[1..] {
            all.extend_from_slice(same_type(v, t)?);
        }
        Tensor::new(&shape, all)
    })
}

fn same_type<'t, T: crate::Element>(_: &[T], of: &'t Tensor) -> Result<&'t [T]> {
    of.values()
}
