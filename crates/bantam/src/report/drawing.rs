//! The computational graph as a picture: blocks from top to bottom, edges between them.
//!
//! A convolution, its normalisation and its rectifier are one block, as people draw them. A block is
//! a row below the last of its inputs, and under its first input where there is room; an edge that
//! passes rows leaves room for itself in each of them (after Sugiyama et al. 1981, without the search
//! for the fewest crossings: networks are chains with shortcuts).

use std::collections::HashMap;

use bantam_core::op::{Layout, Type};
use bantam_core::order::sort_by;
use bantam_core::{Graph, Node, Op, ValueId};

use super::text::{count, counted, cut, escape};

/// Blocks above which a picture helps nobody.
const MOST_BLOCKS: usize = 1000;
/// Edges and the room that they need in rows they pass.
const MOST_PLACES: usize = 20_000;

const WIDTH: f64 = 216.0;
const HEIGHT: f64 = 54.0;
const COLUMN: f64 = WIDTH + 28.0;
/// From one row to the next.
const ROW: f64 = HEIGHT + 30.0;
/// Room of an edge that passes a block.
const LANE: f64 = 26.0;
const MARGIN: f64 = 16.0;
/// Letters that fit into a block.
const LETTERS: usize = 31;

/// The picture, or why there is none.
pub(super) fn drawing(graph: &Graph) -> String {
    let blocks = blocks(graph);
    if blocks.len() > MOST_BLOCKS {
        let n = count(blocks.len() as u64);
        return format!("<p>The network has {n} blocks, too many to draw.</p>");
    }
    match Placed::new(&blocks) {
        Some(placed) => svg(&blocks, &placed, graph.name()),
        None => "<p>The network has too many long edges to draw.</p>".to_owned(),
    }
}

/// What a block is coloured as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It has weights.
    Weights,
    /// It brings values together.
    Joins,
    /// It changes values one by one, or moves them.
    Moves,
    /// An input of the network.
    Ends,
}

/// A box of the picture.
#[derive(Clone, Debug, PartialEq)]
struct Block {
    look: Look,
    /// Operators, the first of them in detail.
    title: String,
    rest: Vec<&'static str>,
    shape: String,
    weights: usize,
    names: Vec<String>,
    /// Blocks that it reads.
    inputs: Vec<usize>,
    is_output: bool,
}

/// The nodes of `graph` in blocks, in running order.
fn blocks(graph: &Graph) -> Vec<Block> {
    let known = graph.outlook(Some(&graph.input_types(1)));
    let types = known.map(|k| k.types).unwrap_or_default();
    let mut readers: HashMap<ValueId, usize> = HashMap::new();
    for v in graph
        .nodes()
        .iter()
        .flat_map(|n| &n.inputs)
        .chain(graph.outputs())
    {
        *readers.entry(*v).or_default() += 1;
    }
    let weights: HashMap<ValueId, usize> = graph
        .parameters()
        .iter()
        .map(|p| (p.value, p.weight.len()))
        .collect();
    let mut blocks: Vec<Block> = Vec::new();
    // The block that makes a value, and whether the value is the last that it makes.
    let mut maker: HashMap<ValueId, usize> = HashMap::new();
    for input in graph.inputs() {
        maker.insert(input.value, blocks.len());
        blocks.push(Block {
            look: Look::Ends,
            title: format!("input {}", graph.value_name(input.value)),
            rest: Vec::new(),
            shape: shape(types.get(input.value.index()).and_then(Option::as_ref)),
            weights: 0,
            names: Vec::new(),
            inputs: Vec::new(),
            is_output: false,
        });
    }
    for node in graph.nodes() {
        let made: Vec<ValueId> = node
            .inputs
            .iter()
            .copied()
            .filter(|v| maker.contains_key(v))
            .collect();
        let stored: usize = node.inputs.iter().filter_map(|v| weights.get(v)).sum();
        let follows = made.first().map(|v| maker[v]).filter(|&b| {
            made.len() == 1
                && is_follower(&node.op)
                && blocks[b].look != Look::Ends
                && readers[&made[0]] == 1
        });
        let output = node.outputs[0];
        let at = match follows {
            Some(at) => {
                blocks[at].rest.push(node.op.name());
                at
            }
            None => {
                blocks.push(block(node, &made, stored, &types, &maker));
                blocks.len() - 1
            }
        };
        let block = &mut blocks[at];
        if follows.is_some() {
            block.weights += stored;
        }
        block.shape = shape(types.get(output.index()).and_then(Option::as_ref));
        block.names.push(node.name.clone());
        block.is_output |= node.outputs.iter().any(|v| graph.outputs().contains(v));
        for &v in &node.outputs {
            maker.insert(v, at);
        }
    }
    blocks
}

fn block(
    node: &Node,
    made: &[ValueId],
    weights: usize,
    types: &[Option<Type>],
    maker: &HashMap<ValueId, usize>,
) -> Block {
    let mut inputs: Vec<usize> = made.iter().map(|v| maker[v]).collect();
    inputs.dedup();
    let look = match (weights, inputs.len()) {
        (_, 2..) => Look::Joins,
        (1.., _) => Look::Weights,
        _ => Look::Moves,
    };
    Block {
        look,
        title: title(node, types),
        rest: Vec::new(),
        shape: String::new(),
        weights,
        names: Vec::new(),
        inputs,
        is_output: false,
    }
}

/// Operators that people see as a part of the one before.
fn is_follower(op: &Op) -> bool {
    match op {
        Op::BatchNorm(_)
        | Op::Unary(_)
        | Op::Dropout(_)
        | Op::Binary(_)
        | Op::Cast(_)
        | Op::Quantize(_)
        | Op::Select(_) => true,
        Op::Layout(layout) => matches!(layout, Layout::Reshape { .. }),
        Op::Dense(_)
        | Op::MatMul(_)
        | Op::Conv(_)
        | Op::Pool(_)
        | Op::Softmax(_)
        | Op::Reduce(_)
        | Op::Gather(_)
        | Op::Loss(_)
        | Op::Logic(_)
        | Op::Index(_)
        | Op::Cumulative(_)
        | Op::Recurrent(_)
        | Op::Resample(_)
        | Op::Window(_)
        | Op::Find(_)
        | Op::Late(_)
        | Op::Control(_) => false,
    }
}

/// The operator and what tells it from others of its kind.
fn title(node: &Node, types: &[Option<Type>]) -> String {
    let of = |i: usize| types.get(node.inputs.get(i)?.index())?.as_ref();
    match (&node.op, of(1).map(|t| t.shape.as_slice())) {
        (Op::Conv(conv), Some(&[_, per_group, h, w])) => {
            let kind = match (conv.groups, per_group) {
                (1, _) => "Conv",
                (_, 1) => "Depthwise",
                _ => "Grouped conv",
            };
            match conv.stride {
                [1, 1] => format!("{kind} {h} × {w}"),
                [a, b] if a == b => format!("{kind} {h} × {w}, every {a}"),
                [a, b] => format!("{kind} {h} × {w}, every {a} × {b}"),
            }
        }
        (Op::Pool(pool), _) => match pool.kernel {
            Some([h, w]) => format!("{} {h} × {w}", node.op.name()),
            None => format!("Global{}", node.op.name()),
        },
        _ => node.op.name().to_owned(),
    }
}

/// `16 × 32 × 32`, for one sample.
fn shape(t: Option<&Type>) -> String {
    let sizes = t.map(|t| t.shape.as_slice()).unwrap_or_default();
    let sizes: Vec<String> = sizes.iter().map(|&n| count(n as u64)).collect();
    sizes.join(" × ")
}

/// Where blocks and edges are. A place is the left edge of a box or of the room of a passing edge.
struct Placed {
    row: Vec<usize>,
    left: Vec<f64>,
    /// From block to block, with the middle of the room in each row between.
    edges: Vec<(usize, usize, Vec<f64>)>,
    width: f64,
    rows: usize,
}

/// What takes room in a row.
enum Item {
    Block(usize),
    /// An edge that passes.
    Edge(usize),
}

impl Placed {
    fn new(blocks: &[Block]) -> Option<Placed> {
        let mut row = vec![0; blocks.len()];
        for (i, block) in blocks.iter().enumerate() {
            row[i] = block.inputs.iter().map(|&b| row[b] + 1).max().unwrap_or(0);
        }
        let rows = row.iter().max().map_or(0, |r| r + 1);
        let mut edges: Vec<(usize, usize, Vec<f64>)> = Vec::new();
        for (to, block) in blocks.iter().enumerate() {
            edges.extend(block.inputs.iter().map(|&from| (from, to, Vec::new())));
        }
        let lengths = edges.iter().map(|&(from, to, _)| row[to] - row[from]);
        if lengths.sum::<usize>() > MOST_PLACES {
            return None;
        }
        let mut placed = Placed {
            left: vec![0.0; blocks.len()],
            row,
            edges,
            width: WIDTH,
            rows,
        };
        for at in 0..rows {
            placed.place_row(blocks, at);
        }
        Some(placed)
    }

    /// Gives everything in a row its place: blocks first among those that want the same.
    fn place_row(&mut self, blocks: &[Block], at: usize) {
        let mut items: Vec<(f64, Item, f64)> = Vec::new();
        for (i, block) in blocks
            .iter()
            .enumerate()
            .filter(|(i, _)| self.row[*i] == at)
        {
            let wanted = block.inputs.iter().map(|&b| self.left[b]);
            items.push((wanted.fold(f64::INFINITY, f64::min), Item::Block(i), COLUMN));
        }
        for (i, (from, to, way)) in self.edges.iter().enumerate() {
            if self.row[*from] < at && at < self.row[*to] {
                let wanted = way.last().copied().unwrap_or(self.left[*from] + 1.0);
                items.push((wanted, Item::Edge(i), LANE));
            }
        }
        sort_by(&mut items, |a, b| a.0.total_cmp(&b.0));
        let mut next = 0.0;
        for (wanted, item, room) in items {
            let left = if wanted.is_finite() {
                wanted.max(next)
            } else {
                next
            };
            next = left + room;
            self.width = self.width.max(left + room.min(WIDTH));
            match item {
                Item::Block(i) => self.left[i] = left,
                Item::Edge(i) => self.edges[i].2.push(left),
            }
        }
    }
}

fn svg(blocks: &[Block], placed: &Placed, name: &str) -> String {
    let width = placed.width + 2.0 * MARGIN;
    let height = placed.rows as f64 * ROW - (ROW - HEIGHT) + 2.0 * MARGIN;
    let label = format!("{} as {} blocks", name, blocks.len());
    let mut out = format!(
        "<div class=\"graph\" tabindex=\"0\" role=\"group\" aria-label=\"Picture of the network\">\
         <svg width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker></defs>\n",
        escape(&label)
    );
    for (from, to, way) in &placed.edges {
        out += &edge(placed, *from, *to, way);
    }
    for (i, block) in blocks.iter().enumerate() {
        out += &boxed(
            block,
            placed.left[i] + MARGIN,
            placed.row[i] as f64 * ROW + MARGIN,
        );
    }
    out + "</svg></div>"
}

/// An edge from the bottom of a block to the top of another, through the room it has between.
fn edge(placed: &Placed, from: usize, to: usize, way: &[f64]) -> String {
    let middle = |block: usize| placed.left[block] + MARGIN + WIDTH / 2.0;
    let top = |row: usize| row as f64 * ROW + MARGIN;
    let mut x = middle(from);
    let mut y = top(placed.row[from]) + HEIGHT;
    let mut d = format!("M{x:.0} {y:.0}");
    for (i, left) in way.iter().enumerate() {
        let lane = left + MARGIN + LANE / 2.0;
        let row = placed.row[from] + 1 + i;
        d += &curve(&mut x, &mut y, lane, top(row));
        y = top(row) + HEIGHT;
        d += &format!("V{y:.0}");
    }
    d += &curve(&mut x, &mut y, middle(to), top(placed.row[to]));
    format!("<path d=\"{d}\" marker-end=\"url(#tip)\"/>\n")
}

fn curve(x: &mut f64, y: &mut f64, to_x: f64, to_y: f64) -> String {
    let half = (*y + to_y) / 2.0;
    let d = match (*x - to_x).abs() < 0.5 {
        true => format!("V{to_y:.0}"),
        false => format!("C{x:.0} {half:.0} {to_x:.0} {half:.0} {to_x:.0} {to_y:.0}"),
    };
    (*x, *y) = (to_x, to_y);
    d
}

fn boxed(block: &Block, x: f64, y: f64) -> String {
    let class = match block.look {
        Look::Weights => "weights",
        Look::Joins => "joins",
        Look::Moves => "moves",
        Look::Ends => "ends",
    };
    let mut says = block.names.join(", ");
    if block.weights > 0 {
        says += &format!(": {}", counted(block.weights as u64, "weight", "weights"));
    }
    let mut rest = block.rest.join(" · ");
    if block.is_output {
        rest = if rest.is_empty() {
            "output".to_owned()
        } else {
            format!("{rest} · output")
        };
    }
    let line = |dy: f64, class: &str, text: &str| {
        let text = escape(&cut(text, LETTERS));
        format!(
            "<text x=\"{:.0}\" y=\"{:.0}\"{class}>{text}</text>",
            x + 12.0,
            y + dy
        )
    };
    format!(
        "<g><title>{}</title><rect x=\"{x:.0}\" y=\"{y:.0}\" width=\"{WIDTH:.0}\" height=\"{HEIGHT:.0}\" rx=\"4\"/>\
         <rect class=\"{class}\" x=\"{x:.0}\" y=\"{y:.0}\" width=\"4\" height=\"{HEIGHT:.0}\"/>{}{}{}</g>\n",
        escape(&cut(&says, 500)),
        line(17.0, " class=\"name\"", &block.title),
        line(32.0, "", &rest),
        line(47.0, "", &block.shape),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use bantam_core::arch;

    fn known(name: &str) -> Graph {
        let a = arch::find(name).unwrap();
        a.graph(a.usual_classes()).unwrap()
    }

    #[test]
    fn a_convolution_and_what_follows_it_are_one_block() {
        let blocks = blocks(&known("resnet20-cifar"));
        let titles: Vec<_> = blocks.iter().map(|b| b.title.as_str()).collect();
        assert_eq!(
            titles[..4],
            ["input x", "Conv 3 × 3", "Conv 3 × 3", "Conv 3 × 3"]
        );
        assert_eq!(blocks[1].rest, ["BatchNormalization", "Relu"]);
        // Filters, and four numbers a channel.
        assert_eq!(blocks[1].weights, 432 + 4 * 16);
        assert_eq!(
            (blocks[4].title.as_str(), blocks[4].look),
            ("Add", Look::Joins)
        );
        assert_eq!(blocks[4].inputs, [3, 1]);
        let last = blocks.last().unwrap();
        assert!(last.is_output && last.title == "Dense" && last.shape == "1 × 10");
        assert_eq!(blocks.iter().filter(|b| b.is_output).count(), 1);
    }

    #[test]
    fn nothing_lies_on_anything_else() {
        for a in arch::ALL {
            let blocks = blocks(&known(a.name));
            let placed = Placed::new(&blocks).unwrap();
            for row in 0..placed.rows {
                let mut taken: Vec<(f64, f64)> = (0..blocks.len())
                    .filter(|&i| placed.row[i] == row)
                    .map(|i| (placed.left[i], placed.left[i] + WIDTH))
                    .collect();
                for (from, _, way) in &placed.edges {
                    let at = row.checked_sub(placed.row[*from] + 1);
                    taken.extend(at.and_then(|i| way.get(i)).map(|&l| (l, l + LANE)));
                }
                taken.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(
                    taken.windows(2).all(|w| w[0].1 <= w[1].0 + 1e-9),
                    "{} row {row}",
                    a.name
                );
                assert!(
                    taken
                        .iter()
                        .all(|t| t.0 >= 0.0 && t.1 <= placed.width + LANE),
                    "{}",
                    a.name
                );
            }
            for (i, block) in blocks.iter().enumerate() {
                assert!(block.inputs.iter().all(|&b| placed.row[b] < placed.row[i]));
            }
        }
    }
}
