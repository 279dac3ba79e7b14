//! The training form of a network: loss, gradients and batch statistics as one Graph.

use bantam_core::op::{BatchNorm, Binary, Dropout, Gather, Layout, Loss, LossKind, NormRole};
use bantam_core::{DType, Dim, Graph, GraphBuilder, Node, Op, ValueId, Weight};

use crate::grad::gradient;
use crate::{Error, ErrorKind, Result};

/// A network with its loss and gradients, and the order of the Graph's inputs and outputs.
///
/// Inputs: those of the network, the target, the seed if there is dropout, the factor if gradients are
/// scaled, the parameters. Outputs: the loss, the network's first output, the statistics, the scaled
/// loss if there is one, the gradients.
#[derive(Clone, Debug)]
pub struct TrainingGraph {
    /// The Graph to execute.
    pub graph: Graph,
    /// Number of inputs that the network has.
    pub n_inputs: usize,
    /// Whether a seed (`i64 []`) follows the target.
    pub has_seed: bool,
    /// Whether a factor (`f32 []`), which multiplies all gradients, comes next.
    pub has_scale: bool,
    /// Names of the trainable parameters; see [`entries_name`] for those with a codebook.
    pub parameters: Vec<String>,
    /// Running statistics to move after each step.
    pub statistics: Vec<Statistic>,
}

/// A running statistic: `running = momentum running + (1 - momentum) scale batch`.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistic {
    /// Name of the parameter that holds it.
    pub parameter: String,
    /// Share of the old value kept.
    pub momentum: f32,
    /// For a variance, the values per channel and sample: a batch of `n` then has
    /// `count = n per_sample` values and its biased variance is scaled by `count / (count - 1)`.
    pub variance_of: Option<usize>,
}

/// Name under which the shared values of a codebook are trained.
pub fn entries_name(parameter: &str) -> String {
    format!("{parameter}.entries")
}

impl TrainingGraph {
    /// Emits the training form of `network`, whose first output is compared with the target:
    /// `labels: [n]` (`i64`) for cross-entropy, otherwise floats of the shape of the output.
    ///
    /// Batch normalisation and dropout take their training form. Of a weight with a codebook the
    /// entries are trained, each by the sum of the gradients of the elements that share it (Han et
    /// al. 2016, section 3.3). Errs when there is nothing to train, or no way for the gradient.
    pub fn new(network: &Graph, loss: LossKind) -> Result<TrainingGraph> {
        TrainingGraph::emit(network, loss, false)
    }

    /// As [`TrainingGraph::new`], with gradients that are multiplied by a factor: an input.
    pub fn scaled(network: &Graph, loss: LossKind) -> Result<TrainingGraph> {
        TrainingGraph::emit(network, loss, true)
    }

    fn emit(network: &Graph, loss: LossKind, scaled: bool) -> Result<TrainingGraph> {
        let mut form = Form::new(network);
        form.inputs(loss)?;
        if scaled {
            let name = form.b.fresh("loss_scale");
            form.scale = Some(form.b.input(&name, DType::F32, Vec::new()));
        }
        form.declare_parameters()?;
        for node in network.nodes() {
            form.node(node)?;
        }
        form.finish(loss)
    }

    /// Number of outputs before the gradients.
    pub fn first_gradient(&self) -> usize {
        2 + self.statistics.len() + usize::from(self.has_scale)
    }
}

struct Form<'n> {
    network: &'n Graph,
    b: GraphBuilder,
    map: Vec<Option<ValueId>>,
    target: Option<ValueId>,
    seed: Option<ValueId>,
    scale: Option<ValueId>,
    parameters: Vec<(String, ValueId)>,
    statistics: Vec<(Statistic, ValueId)>,
    n_dropouts: u32,
}

impl<'n> Form<'n> {
    fn new(network: &'n Graph) -> Form<'n> {
        Form {
            network,
            b: GraphBuilder::new(&format!("{} training", network.name())),
            map: vec![None; network.n_values()],
            target: None,
            seed: None,
            scale: None,
            parameters: Vec::new(),
            statistics: Vec::new(),
            n_dropouts: 0,
        }
    }

    fn name(&self, v: ValueId) -> &'n str {
        self.network.value_name(v)
    }

    fn value(&self, v: ValueId) -> ValueId {
        self.map[v.index()].expect("nodes are in running order")
    }

    fn inputs(&mut self, loss: LossKind) -> Result<()> {
        for input in self.network.inputs() {
            let value = self
                .b
                .input(self.name(input.value), input.dtype, input.dims.clone());
            self.map[input.value.index()] = Some(value);
        }
        let types = self.network.infer(&self.network.input_types(2))?;
        let output = &types[self.network.outputs()[0].index()].shape;
        let (dtype, rest) = match loss {
            LossKind::CrossEntropy { .. } => (DType::I64, &output[output.len().min(1)..][..0]),
            LossKind::MeanSquaredError | LossKind::BinaryCrossEntropy => {
                (DType::F32, &output[output.len().min(1)..])
            }
        };
        let dims = std::iter::once(Dim::batch()).chain(rest.iter().map(|&d| Dim::Fixed(d)));
        self.target = Some(self.b.input(&self.b.fresh("target"), dtype, dims.collect()));
        let dropout =
            |n: &Node| matches!(n.op, Op::Dropout(Dropout::Identity { ratio }) if ratio > 0.0);
        if self.network.nodes().iter().any(dropout) {
            self.seed = Some(self.b.input(&self.b.fresh("seed"), DType::I64, Vec::new()));
        }
        Ok(())
    }

    fn declare_parameters(&mut self) -> Result<()> {
        let statistics: Vec<ValueId> = self.network.nodes().iter().flat_map(running).collect();
        // All inputs first: an executor's inputs are in the order of their declaration.
        for p in self.network.parameters().iter().filter(|p| p.trainable) {
            let name = self.name(p.value);
            let (name, shape) = match &p.weight {
                Weight::Dense(_) | Weight::Masked(_) => {
                    (name.to_owned(), p.weight.shape().to_vec())
                }
                Weight::Codebook(c) => (entries_name(name), vec![c.entries().len() - 1]),
            };
            if p.weight.dtype() != DType::F32 {
                let message = format!("weight {name:?} is {}, expected f32", p.weight.dtype());
                return Err(Error::new(ErrorKind::Graph, message));
            }
            let dims = shape.iter().map(|&d| Dim::Fixed(d)).collect();
            let value = self.b.input(&name, DType::F32, dims);
            self.map[p.value.index()] = Some(value);
            self.parameters.push((name, value));
        }
        for p in self.network.parameters() {
            let name = self.name(p.value);
            match &p.weight {
                Weight::Codebook(c) if p.trainable => {
                    let entries = self.value(p.value);
                    let pad = Layout::Pad {
                        padding: vec![[1, 0]],
                        value: 0.0,
                    };
                    let zero =
                        self.b
                            .node(&format!("{name}.codebook"), Op::Layout(pad), &[entries]);
                    let indices = bantam_core::Tensor::new(c.shape(), c.indices().to_vec())?;
                    let indices = self.b.constant(&format!("{name}.indices"), indices);
                    let gather = Op::Gather(Gather {
                        axis: 0,
                        grad: false,
                    });
                    self.map[p.value.index()] = Some(self.b.node(name, gather, &[zero, indices]));
                }
                weight if !p.trainable && !statistics.contains(&p.value) => {
                    self.map[p.value.index()] = Some(self.b.constant(name, weight.clone()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &Node) -> Result<()> {
        let outputs = match &node.op {
            Op::BatchNorm(op) if op.role == NormRole::Inference => self.batch_norm(*op, node)?,
            Op::Dropout(Dropout::Identity { ratio }) if *ratio > 0.0 => {
                vec![self.dropout(*ratio, node)]
            }
            op => {
                let inputs: Vec<ValueId> = node.inputs.iter().map(|&v| self.value(v)).collect();
                match node.outputs.len() {
                    1 => vec![self.b.node(&node.name, op.clone(), &inputs)],
                    3 => self.b.node_n::<3>(&node.name, op.clone(), &inputs).to_vec(),
                    n => {
                        let message = format!("an operator with {n} outputs cannot be trained");
                        return Err(Error::new(ErrorKind::Gradient, message).at(&node.name));
                    }
                }
            }
        };
        node.outputs
            .iter()
            .zip(outputs)
            .for_each(|(v, o)| self.map[v.index()] = Some(o));
        Ok(())
    }

    fn batch_norm(&mut self, op: BatchNorm, node: &Node) -> Result<Vec<ValueId>> {
        let training = Op::BatchNorm(op.with_role(NormRole::Training));
        let inputs: Vec<ValueId> = node.inputs[..3].iter().map(|&v| self.value(v)).collect();
        let [y, mean, var] = self.b.node_n(&node.name, training, &inputs);
        let types = self.network.infer(&self.network.input_types(2))?;
        let shape = &types[node.inputs[0].index()].shape;
        let per_sample: usize = shape[2..].iter().product();
        for (v, batch, variance_of) in [
            (node.inputs[3], mean, None),
            (node.inputs[4], var, Some(per_sample)),
        ] {
            let parameter = self.name(v).to_owned();
            if self.network.parameter(&parameter).is_none() {
                let message = format!("the running statistic {parameter:?} is not a weight");
                return Err(Error::new(ErrorKind::Graph, message).at(&node.name));
            }
            self.statistics.push((
                Statistic {
                    parameter,
                    momentum: op.momentum,
                    variance_of,
                },
                batch,
            ));
        }
        Ok(vec![y])
    }

    fn dropout(&mut self, ratio: f32, node: &Node) -> ValueId {
        let x = self.value(node.inputs[0]);
        let seed = self.seed.expect("declared when there is dropout");
        let mask = Op::Dropout(Dropout::Mask {
            ratio,
            stream: self.n_dropouts,
        });
        self.n_dropouts += 1;
        let mask = self
            .b
            .node(&format!("{}.mask", node.name), mask, &[x, seed]);
        self.b.node(&node.name, Op::Binary(Binary::Mul), &[x, mask])
    }

    fn finish(mut self, loss: LossKind) -> Result<TrainingGraph> {
        if self.parameters.is_empty() {
            return Err(Error::new(
                ErrorKind::Graph,
                "the network has nothing to train",
            ));
        }
        let prediction = self.value(self.network.outputs()[0]);
        let target = self.target.expect("declared with the inputs");
        let name = self.b.fresh("loss");
        let op = Op::Loss(Loss {
            kind: loss,
            grad: false,
        });
        let value = self.b.node(&name, op, &[prediction, target]);
        self.b.output(value);
        self.b.output(prediction);
        self.statistics.iter().for_each(|s| self.b.output(s.1));
        let mut of = 0;
        if let Some(scale) = self.scale {
            let name = self.b.fresh("scaled_loss");
            let op = Op::Binary(Binary::Mul);
            let scaled = self.b.node(&name, op, &[value, scale]);
            self.b.output(scaled);
            of = 2 + self.statistics.len();
        }
        let wrt: Vec<ValueId> = self.parameters.iter().map(|p| p.1).collect();
        Ok(TrainingGraph {
            graph: gradient(&self.b.finish()?, of, &wrt)?,
            n_inputs: self.network.inputs().len(),
            has_seed: self.seed.is_some(),
            has_scale: self.scale.is_some(),
            parameters: self.parameters.into_iter().map(|p| p.0).collect(),
            statistics: self.statistics.into_iter().map(|s| s.0).collect(),
        })
    }
}

/// The running statistics that a node reads.
fn running(node: &Node) -> Vec<ValueId> {
    match node.op {
        Op::BatchNorm(BatchNorm {
            role: NormRole::Inference,
            ..
        }) => node.inputs[3..].to_vec(),
        _ => Vec::new(),
    }
}
