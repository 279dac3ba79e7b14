//! Arrays through a network as they are: inputs by name, outputs by name, state carried along.
//!
//! Nothing is normalised and nothing is said about what an output means. Where a network has a
//! state, an input that is fed with an output of the step before, the other inputs are sequences:
//! arrays with an axis of steps in front of the axes that the network wants.

use std::collections::HashMap;
use std::path::Path;

use bantam_core::op::Type;
use bantam_core::{DType, Data, Dim, Graph, Tensor, each_type, with_type};
use bantam_data::{npy_bytes, npz_bytes, read_npy, read_npz};
use bantam_runtime::{Executor, Plan};
use serde::Serialize;

use crate::choices::{self, Cache};
use crate::{Error, ErrorKind, Result};

/// An input and the output that it is fed with in the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Name of the input.
    pub input: String,
    /// Name of the output.
    pub output: String,
}

/// An array that a network gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Output {
    /// Name of the output; of a state, that of its input.
    pub name: String,
    /// Element type.
    pub dtype: String,
    /// Shape; of a sequence, the steps come first.
    pub shape: Vec<usize>,
    /// Smallest value that is a number; absent when there is none.
    pub minimum: Option<f64>,
    /// Largest value that is a number.
    pub maximum: Option<f64>,
    /// Mean of the values that are numbers.
    pub mean: Option<f64>,
    /// Values that are not numbers, or infinite.
    pub not_finite: usize,
    /// The values.
    #[serde(skip)]
    pub tensor: Tensor,
}

/// The arrays at `path`, by name; the one array of a `.npy` file is called as the only input of
/// `graph` that `states` do not feed.
///
/// Errs when the file cannot be read, when an input has no array and when an array is no input.
pub fn read_inputs(graph: &Graph, path: &Path, states: &[State]) -> Result<Vec<(String, Tensor)>> {
    let bad = |message: String| Error::new(ErrorKind::Data, message).in_file(path);
    let names: Vec<&str> = graph
        .inputs()
        .iter()
        .map(|i| graph.value_name(i.value))
        .collect();
    let fed: Vec<&str> = names
        .iter()
        .copied()
        .filter(|n| !is_state(states, n))
        .collect();
    let is_archive = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("npz"));
    let arrays = match (is_archive, fed.as_slice()) {
        (true, _) => read_npz(path)?,
        (false, [one]) => vec![((*one).to_owned(), read_npy(path)?)],
        (false, _) => {
            let message = format!("expected a .npz archive of the inputs {}", fed.join(", "));
            return Err(bad(message));
        }
    };
    if let Some((name, _)) = arrays
        .iter()
        .find(|(name, _)| !names.contains(&name.as_str()))
    {
        return Err(bad(format!(
            "no input is called {name:?}: expected {}",
            names.join(", ")
        )));
    }
    if let Some(name) = fed
        .iter()
        .find(|name| !arrays.iter().any(|a| a.0 == **name))
    {
        return Err(bad(format!("there is no array for the input {name:?}")));
    }
    Ok(arrays)
}

fn is_state(states: &[State], name: &str) -> bool {
    states.iter().any(|s| s.input == name)
}

/// The bytes of a file of outputs: of a single one as `.npy` when `path` is called so, else of all as
/// `.npz`.
///
/// Errs when `path` is called neither, or there are too many outputs for it.
pub fn encode(outputs: &[Output], path: &Path) -> Result<Vec<u8>> {
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or("")
        .to_lowercase();
    match (extension.as_str(), outputs) {
        ("npy", [one]) => Ok(npy_bytes(&one.tensor)),
        ("npz", _) => {
            let arrays: Vec<_> = outputs
                .iter()
                .map(|o| (o.name.clone(), o.tensor.clone()))
                .collect();
            Ok(npz_bytes(&arrays)?)
        }
        ("npy", _) => {
            let message = format!("expected a file called .npz for {} outputs", outputs.len());
            Err(Error::new(ErrorKind::File, message).in_file(path))
        }
        _ => {
            let message = "expected a file called .npy or .npz for arrays";
            Err(Error::new(ErrorKind::File, message).in_file(path))
        }
    }
}

/// Runs `graph` on `inputs`, by name.
///
/// Without `states` it runs once, and every input has the axes that the graph declares. With them, an
/// input with one more axis in front is a sequence, and the graph runs once a step; other inputs
/// are the same in every step. A state begins as its array, or as zeros where there is none. Outputs
/// of a sequence have the steps in front, states come last, as they were after the last step.
///
/// Errs when names, types or shapes do not fit.
pub fn run(graph: &Graph, inputs: &[(String, Tensor)], states: &[State]) -> Result<Vec<Output>> {
    let session = Session::new(graph, inputs, states)?;
    let mut plan = Plan::new(graph, &session.types)?;
    let mut known = Cache::of_user().read(rayon::current_num_threads());
    choices::apply(&mut plan, &mut known.choices);
    let mut executor = Executor::new(plan);
    let n_outputs = graph.outputs().len();
    let mut values: Vec<Tensor> = session.first.clone();
    let mut outputs: Vec<Vec<Tensor>> = vec![Vec::new(); n_outputs];
    for step in 0..session.steps.unwrap_or(1) {
        for (value, sequence) in values.iter_mut().zip(&session.sequences) {
            if let Some(sequence) = sequence {
                *value = part(sequence, step)?;
            }
        }
        let refs: Vec<&Tensor> = values.iter().collect();
        let found = executor
            .run(&refs)
            .map_err(|e| Error::new(ErrorKind::Data, e.to_string()))?;
        let found: Vec<Tensor> = (0..n_outputs).map(|i| found.tensor(i)).collect();
        for &(input, output) in &session.states {
            values[input] = found[output].cast(session.types[input].dtype);
        }
        for (i, tensor) in found.into_iter().enumerate() {
            if !session.states.iter().any(|s| s.1 == i) {
                outputs[i].push(tensor);
            }
        }
    }
    let mut named = Vec::new();
    for (&id, parts) in graph.outputs().iter().zip(outputs) {
        if !parts.is_empty() {
            let tensor = match session.steps {
                Some(_) => stacked(&parts)?,
                None => parts.into_iter().next().expect("it ran once"),
            };
            named.push(output(graph.value_name(id), tensor));
        }
    }
    for &(input, _) in &session.states {
        let name = graph.value_name(graph.inputs()[input].value);
        named.push(output(name, values[input].clone()));
    }
    Ok(named)
}

/// What is fed to a graph, step by step, in the order of its inputs.
struct Session {
    types: Vec<Type>,
    /// What every input is before the first step; of a sequence, whatever has its type.
    first: Vec<Tensor>,
    sequences: Vec<Option<Tensor>>,
    /// Positions of an input and the output that feeds it.
    states: Vec<(usize, usize)>,
    /// Steps of the sequences; absent when there are none.
    steps: Option<usize>,
}

impl Session {
    fn new(graph: &Graph, inputs: &[(String, Tensor)], states: &[State]) -> Result<Session> {
        let states = states
            .iter()
            .map(|s| positions(graph, s))
            .collect::<Result<Vec<_>>>()?;
        let mut symbols: HashMap<String, usize> = HashMap::new();
        let mut found: Vec<Option<(Tensor, bool)>> = Vec::new();
        for input in graph.inputs() {
            let name = graph.value_name(input.value);
            let array = inputs.iter().find(|(n, _)| n == name);
            found.push(match array {
                None => None,
                Some((_, array)) => {
                    let at = |e: Error| Error::new(ErrorKind::Data, format!("input {name:?}: {e}"));
                    let array = converted(array, input.dtype).map_err(at)?;
                    let extra = !states.is_empty() && array.shape().len() == input.dims.len() + 1;
                    let shape = &array.shape()[usize::from(extra)..];
                    bind(&mut symbols, &input.dims, shape).map_err(at)?;
                    Some((array, extra))
                }
            });
        }
        let steps = steps(graph, &found)?;
        let mut session = Session {
            types: Vec::new(),
            first: Vec::new(),
            sequences: Vec::new(),
            states,
            steps,
        };
        for (i, (input, found)) in graph.inputs().iter().zip(found).enumerate() {
            let (first, sequence) = match found {
                Some((array, true)) => (part(&array, 0)?, Some(array)),
                Some((array, false)) => (array, None),
                None if session.states.iter().any(|s| s.0 == i) => {
                    let name = graph.value_name(input.value);
                    let shape = resolved(&symbols, &input.dims, name)?;
                    (Tensor::zeros(input.dtype, &shape), None)
                }
                None => {
                    let name = graph.value_name(input.value);
                    let message = format!("there is no array for the input {name:?}");
                    return Err(Error::new(ErrorKind::Data, message));
                }
            };
            session.types.push(Type::new(first.dtype(), first.shape()));
            session.first.push(first);
            session.sequences.push(sequence);
        }
        session.check(graph)?;
        Ok(session)
    }

    /// Errs when the graph does not take the types, or a state has another type than what feeds it;
    /// what depends on values is noticed when it runs.
    fn check(&self, graph: &Graph) -> Result<()> {
        let bad = |message: String| Error::new(ErrorKind::Data, message);
        let types = graph.infer_partly(&self.types);
        let types = types.map_err(|e| bad(e.to_string()))?;
        for &(input, output) in &self.states {
            let Some(from) = &types[graph.outputs()[output].index()] else {
                continue;
            };
            let to = &self.types[input];
            if from.shape != to.shape || from.dtype.is_float() != to.dtype.is_float() {
                let name = graph.value_name(graph.inputs()[input].value);
                return Err(bad(format!(
                    "state {name:?}: expected {} {:?} from the step before, found {} {:?}",
                    to.dtype, to.shape, from.dtype, from.shape
                )));
            }
        }
        Ok(())
    }
}

fn positions(graph: &Graph, state: &State) -> Result<(usize, usize)> {
    let inputs: Vec<&str> = graph
        .inputs()
        .iter()
        .map(|i| graph.value_name(i.value))
        .collect();
    let outputs: Vec<&str> = graph
        .outputs()
        .iter()
        .map(|&v| graph.value_name(v))
        .collect();
    let find = |what: &str, names: &[&str], name: &str| {
        names.iter().position(|n| *n == name).ok_or_else(|| {
            let message = format!(
                "no {what} is called {name:?}: expected one of {}",
                names.join(", ")
            );
            Error::new(ErrorKind::Recipe, message)
        })
    };
    let input = find("input", &inputs, &state.input)?;
    Ok((input, find("output", &outputs, &state.output)?))
}

/// The array as the type that an input has; errs when that changes what it says.
fn converted(array: &Tensor, dtype: DType) -> Result<Tensor> {
    if dtype.is_float() && array.dtype().is_float() {
        return Ok(array.cast(dtype));
    }
    let converted = array.cast(dtype);
    if converted.cast(array.dtype()) != *array {
        let message = format!(
            "expected values of type {dtype}, found {} that are not",
            array.dtype()
        );
        return Err(Error::new(ErrorKind::Data, message));
    }
    Ok(converted)
}

fn bind(symbols: &mut HashMap<String, usize>, dims: &[Dim], shape: &[usize]) -> Result<()> {
    let n_axes = match dims.last() {
        Some(Dim::Rest) if shape.len() + 1 >= dims.len() => shape.len(),
        _ => dims.len(),
    };
    let fits = n_axes == shape.len()
        && dims.iter().zip(shape).all(|(dim, &size)| match dim {
            Dim::Fixed(n) => *n == size,
            Dim::Symbol(s) => *symbols.entry(s.clone()).or_insert(size) == size,
            Dim::Any | Dim::Rest => true,
        });
    if fits {
        return Ok(());
    }
    let dims: Vec<String> = dims.iter().map(Dim::to_string).collect();
    let message = format!("expected shape [{}], found {shape:?}", dims.join(", "));
    Err(Error::new(ErrorKind::Data, message))
}

fn resolved(symbols: &HashMap<String, usize>, dims: &[Dim], name: &str) -> Result<Vec<usize>> {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(n) => Ok(*n),
        Dim::Symbol(s) => symbols.get(s).copied().ok_or_else(|| {
            let message = format!("state {name:?}: no other input says how large its axis {s} is");
            let error = Error::new(ErrorKind::Data, message);
            error.with_hint("give its first value with the other arrays")
        }),
        Dim::Any | Dim::Rest => {
            let message = format!("state {name:?}: its axis {dim} may have any size");
            let error = Error::new(ErrorKind::Data, message);
            Err(error.with_hint("give its first value with the other arrays"))
        }
    };
    dims.iter().map(size).collect()
}

/// The number of steps that all sequences have.
fn steps(graph: &Graph, found: &[Option<(Tensor, bool)>]) -> Result<Option<usize>> {
    let mut steps = None;
    for (input, found) in graph.inputs().iter().zip(found) {
        let Some((array, true)) = found else { continue };
        let (name, n) = (graph.value_name(input.value), array.shape()[0]);
        let expected = *steps.get_or_insert(n);
        if n != expected || n == 0 {
            let expected = expected.max(1);
            let message = format!("input {name:?}: expected {expected} steps, found {n}");
            return Err(Error::new(ErrorKind::Data, message));
        }
    }
    Ok(steps)
}

/// One step of a sequence.
fn part(sequence: &Tensor, step: usize) -> Result<Tensor> {
    let shape = &sequence.shape()[1..];
    let n: usize = shape.iter().product();
    let range = step * n..(step + 1) * n;
    Ok(each_type!(sequence.data(), v => Tensor::new(shape, v[range].to_vec()))?)
}

/// Tensors of one shape as one, with a new axis in front.
fn stacked(parts: &[Tensor]) -> Result<Tensor> {
    fn all<T: bantam_core::Element>(parts: &[Tensor]) -> Result<Data> {
        let mut values = Vec::new();
        for part in parts {
            values.extend_from_slice(part.values::<T>()?);
        }
        Ok(T::wrap(values))
    }
    let data = with_type!(parts[0].dtype(), T => all::<T>(parts))?;
    let shape: Vec<usize> = std::iter::once(parts.len())
        .chain(parts[0].shape().iter().copied())
        .collect();
    Ok(Tensor::from_data(&shape, data)?)
}

fn output(name: &str, tensor: Tensor) -> Output {
    let Data::F64(values) = tensor.cast(DType::F64).into_data() else {
        unreachable!("cast to f64")
    };
    let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let any = !finite.is_empty();
    Output {
        name: name.to_owned(),
        dtype: tensor.dtype().name().to_owned(),
        shape: tensor.shape().to_vec(),
        minimum: any.then(|| finite.iter().copied().fold(f64::INFINITY, f64::min)),
        maximum: any.then(|| finite.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        mean: any.then(|| finite.iter().sum::<f64>() / finite.len() as f64),
        not_finite: values.len() - finite.len(),
        tensor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bantam_core::op::Binary;
    use bantam_core::{GraphBuilder, Op};

    /// `sum = state + x`, with a symbolic axis, and `twice = sum + sum`.
    fn running_sum() -> Graph {
        let mut b = GraphBuilder::new("sum");
        let dims = || vec![Dim::batch(), Dim::Fixed(2)];
        let x = b.input("x", DType::F32, dims());
        let state = b.input("state", DType::F32, dims());
        let sum = b.node("sum", Op::Binary(Binary::Add), &[state, x]);
        let twice = b.node("twice", Op::Binary(Binary::Add), &[sum, sum]);
        b.output(twice);
        b.output(sum);
        b.finish().unwrap()
    }

    fn state() -> Vec<State> {
        vec![State {
            input: "state".into(),
            output: "sum".into(),
        }]
    }

    fn array(name: &str, shape: &[usize], values: Vec<f32>) -> (String, Tensor) {
        (name.to_owned(), Tensor::new(shape, values).unwrap())
    }

    fn values(o: &Output) -> &[f32] {
        o.tensor.values::<f32>().unwrap()
    }

    #[test]
    fn a_state_is_carried_from_step_to_step() {
        let graph = running_sum();
        let x = array("x", &[3, 1, 2], vec![1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
        let outputs = run(&graph, std::slice::from_ref(&x), &state()).unwrap();
        let names: Vec<_> = outputs.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(names, ["twice", "state"]);
        assert_eq!(outputs[0].shape, [3, 1, 2]);
        assert_eq!(values(&outputs[0]), [2.0, 20.0, 6.0, 60.0, 12.0, 120.0]);
        assert_eq!(values(&outputs[1]), [6.0, 60.0]);
        // Two halves with the state handed over are the whole.
        let first = array("x", &[2, 1, 2], vec![1.0, 10.0, 2.0, 20.0]);
        let second = array("x", &[1, 1, 2], vec![3.0, 30.0]);
        let half = run(&graph, &[first], &state()).unwrap();
        let handed = ("state".to_owned(), half[1].tensor.clone());
        let rest = run(&graph, &[second, handed], &state()).unwrap();
        assert_eq!(values(&rest[0]), [12.0, 120.0]);
        assert_eq!(values(&rest[1]), values(&outputs[1]));
    }

    #[test]
    fn without_states_it_runs_once() {
        let graph = running_sum();
        let inputs = [
            array("state", &[1, 2], vec![1.0, 2.0]),
            array("x", &[1, 2], vec![3.0, f32::NAN]),
        ];
        let outputs = run(&graph, &inputs, &[]).unwrap();
        assert_eq!((outputs.len(), outputs[1].name.as_str()), (2, "sum"));
        assert_eq!((outputs[1].minimum, outputs[1].not_finite), (Some(4.0), 1));
    }

    #[test]
    fn integers_serve_as_floats_when_they_are_the_same() {
        let graph = running_sum();
        let whole = |v: Vec<i64>| ("x".to_owned(), Tensor::new(&[1, 2], v).unwrap());
        let zero = array("state", &[1, 2], vec![0.0, 0.0]);
        let outputs = run(&graph, &[whole(vec![1, 2]), zero.clone()], &[]).unwrap();
        assert_eq!(values(&outputs[1]), [1.0, 2.0]);
        let error = run(&graph, &[whole(vec![1, (1 << 40) + 1]), zero], &[]).unwrap_err();
        assert!(error.to_string().contains("input \"x\""), "{error}");
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let graph = running_sum();
        let x = |shape: &[usize]| array("x", shape, vec![0.0; shape.iter().product()]);
        let s = |shape: &[usize]| array("state", shape, vec![0.0; shape.iter().product()]);
        let wrong = vec![State {
            input: "stat".into(),
            output: "sum".into(),
        }];
        type Case<'a> = (Vec<(String, Tensor)>, Vec<State>, &'a str);
        let cases: [Case; 6] = [
            (vec![x(&[1, 2])], vec![], "no array for the input \"state\""),
            (
                vec![x(&[1, 3]), s(&[1, 2])],
                vec![],
                "expected shape [n, 2], found [1, 3]",
            ),
            (
                vec![x(&[1, 2]), s(&[2, 2])],
                vec![],
                "expected shape [n, 2], found [2, 2]",
            ),
            (
                vec![x(&[4, 1, 2]), s(&[1, 2])],
                vec![],
                "expected shape [n, 2], found [4, 1, 2]",
            ),
            (vec![x(&[0, 1, 2])], state(), "expected 1 steps, found 0"),
            (vec![x(&[1, 2])], wrong, "no input is called \"stat\""),
        ];
        for (inputs, states, text) in cases {
            let error = run(&graph, &inputs, &states).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
