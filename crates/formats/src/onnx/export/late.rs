//! Operators whose attributes are values.

use bantam_core::Node;
use bantam_core::op::late::{Padding, Sliding};
use bantam_core::op::resample::Coordinates;
use bantam_core::op::window::WindowKind;
use bantam_core::op::{Late, ReduceKind};

use super::plain::{fill_name, filter};
use super::{Attr, Attrs, Form, Writer, code, no_form};
use crate::Result;

fn ints(values: &[usize]) -> Attr {
    Attr::Ints(values.iter().map(|&v| v as i64).collect())
}

fn flag(on: bool) -> Attr {
    Attr::Int(i64::from(on))
}

fn sliding(s: &Sliding) -> Attrs {
    let mut a = Vec::new();
    for (name, list) in [
        ("kernel_shape", &s.kernel),
        ("strides", &s.stride),
        ("dilations", &s.dilation),
    ] {
        if !list.is_empty() {
            a.push((name, ints(list)));
        }
    }
    match &s.padding {
        Padding::Cells(cells) if cells.is_empty() => {}
        Padding::Cells(cells) => {
            let all: Vec<usize> = cells
                .iter()
                .map(|c| c[0])
                .chain(cells.iter().map(|c| c[1]))
                .collect();
            a.push(("pads", ints(&all)));
        }
        Padding::Same(false) => a.push(("auto_pad", Attr::Text("SAME_UPPER"))),
        Padding::Same(true) => a.push(("auto_pad", Attr::Text("SAME_LOWER"))),
    }
    a
}

impl Writer<'_> {
    pub(super) fn late(&mut self, node: &Node, late: &Late) -> Result<Form> {
        let inputs = self.names(&node.inputs);
        Ok(match late {
            Late::Shape {
                start: 0,
                end: i64::MAX,
            } => Form::new("Shape"),
            Late::Shape { start, end } => {
                let mut a = vec![("start", Attr::Int(*start))];
                if *end != i64::MAX {
                    a.push(("end", Attr::Int(*end)));
                }
                Form::with("Shape", a)
            }
            Late::Size => Form::new("Size"),
            Late::Reshape { allow_zero } => Form::with(
                "Reshape",
                if *allow_zero {
                    vec![("allowzero", Attr::Int(1))]
                } else {
                    vec![]
                },
            ),
            Late::Expand => Form::new("Expand"),
            Late::Slice { axes, steps } => {
                let mut all = inputs[..3].to_vec();
                all.push(if *axes {
                    inputs[3].clone()
                } else {
                    String::new()
                });
                if *steps {
                    all.push(inputs[inputs.len() - 1].clone());
                } else if !*axes {
                    all.pop();
                }
                Form::new("Slice").reading(all)
            }
            Late::Pad { fill, value, axes } => {
                let mut all = inputs[..2].to_vec();
                all.push(if *value {
                    inputs[2].clone()
                } else {
                    String::new()
                });
                match axes {
                    true => all.push(inputs[inputs.len() - 1].clone()),
                    false if !*value => drop(all.pop()),
                    false => {}
                }
                Form::with("Pad", vec![("mode", Attr::Text(fill_name(*fill)))]).reading(all)
            }
            Late::Tile => Form::new("Tile"),
            Late::Range => Form::new("Range"),
            Late::Fill => self.fill(node)?,
            Late::Part { axis, index, of } => {
                let outputs = (0..*of).map(|i| match i == *index {
                    true => self.name(node.outputs[0]),
                    false => self.fresh(&node.name),
                });
                let outputs = outputs.collect();
                let mut a = vec![("axis", Attr::Int(*axis))];
                if inputs.len() == 1 {
                    a.push(("num_outputs", Attr::Int(*of as i64)));
                }
                Form {
                    outputs: Some(outputs),
                    ..Form::with("Split", a)
                }
            }
            Late::Reduce {
                kind,
                keep_dims,
                none_is_none,
            } => {
                let op = match kind {
                    ReduceKind::Sum => "ReduceSum",
                    ReduceKind::Mean => "ReduceMean",
                    ReduceKind::Max => "ReduceMax",
                    ReduceKind::Min => "ReduceMin",
                    ReduceKind::Prod => "ReduceProd",
                    ReduceKind::LogSumExp => "ReduceLogSumExp",
                    _ => return Err(no_form(node)),
                };
                let a = vec![
                    ("keepdims", flag(*keep_dims)),
                    ("noop_with_empty_axes", flag(*none_is_none)),
                ];
                Form::with(op, a)
            }
            Late::Squeeze => Form::new("Squeeze"),
            Late::Unsqueeze => Form::new("Unsqueeze"),
            Late::Reversed => Form::new("Transpose"),
            Late::Flatten { axis } => Form::with("Flatten", vec![("axis", Attr::Int(*axis))]),
            Late::Cumulative(c) => {
                let op = if c.product { "CumProd" } else { "CumSum" };
                Form::with(
                    op,
                    vec![
                        ("exclusive", flag(c.exclusive)),
                        ("reverse", flag(c.reverse)),
                    ],
                )
            }
            Late::Top { axis, largest } => Form::with(
                "TopK",
                vec![("axis", Attr::Int(*axis)), ("largest", flag(*largest))],
            ),
            Late::Triangle { upper } => Form::with("Trilu", vec![("upper", flag(*upper))]),
            Late::Eye { k, dtype } => Form::with(
                "EyeLike",
                vec![("k", Attr::Int(*k)), ("dtype", Attr::Int(code(*dtype)))],
            ),
            Late::Resize { .. } => self.resize(late, inputs),
            Late::Pool {
                kind,
                sliding: s,
                ceil,
                places: _,
            } => {
                let mut a = sliding(s);
                if *ceil {
                    a.push(("ceil_mode", Attr::Int(1)));
                }
                let op = match kind {
                    WindowKind::Max { column_major } => {
                        if *column_major {
                            a.push(("storage_order", Attr::Int(1)));
                        }
                        "MaxPool"
                    }
                    WindowKind::Average { count_include_pad } => {
                        a.push(("count_include_pad", flag(*count_include_pad)));
                        "AveragePool"
                    }
                    WindowKind::Lp { p } => {
                        a.push(("p", Attr::Int(i64::from(*p))));
                        "LpPool"
                    }
                };
                Form::with(op, a)
            }
            Late::GlobalPool(ReduceKind::Max) => Form::new("GlobalMaxPool"),
            Late::GlobalPool(ReduceKind::Mean) => Form::new("GlobalAveragePool"),
            Late::Conv { sliding: s, groups } => {
                let mut a = sliding(s);
                a.push(("group", Attr::Int(*groups as i64)));
                Form::with("Conv", a)
            }
            Late::ConvTranspose {
                sliding: s,
                groups,
                extra,
                output,
            } => {
                let mut a = sliding(s);
                a.push(("group", Attr::Int(*groups as i64)));
                for (name, list) in [("output_padding", extra), ("output_shape", output)] {
                    if !list.is_empty() {
                        a.push((name, ints(list)));
                    }
                }
                Form::with("ConvTranspose", a)
            }
            Late::Blocks {
                size,
                to_depth: true,
                ..
            } => Form::with("SpaceToDepth", vec![("blocksize", Attr::Int(*size as i64))]),
            Late::Blocks {
                size,
                to_depth: false,
                depth_last,
            } => {
                let mode = if *depth_last { "CRD" } else { "DCR" };
                let a = vec![
                    ("blocksize", Attr::Int(*size as i64)),
                    ("mode", Attr::Text(mode)),
                ];
                Form::with("DepthToSpace", a)
            }
            Late::CentreCropPad { axes } => {
                let a = if axes.is_empty() {
                    vec![]
                } else {
                    vec![("axes", Attr::Ints(axes.clone()))]
                };
                Form::with("CenterCropPad", a)
            }
            Late::MoveAxis { .. } | Late::GlobalPool(_) => return Err(no_form(node)),
        })
    }

    /// One value under a shape: `Expand` needs it as a tensor, which it is.
    fn fill(&mut self, node: &Node) -> Result<Form> {
        Ok(Form::new("Expand").reading(self.names(&node.inputs)))
    }

    fn resize(&mut self, late: &Late, inputs: Vec<String>) -> Form {
        let Late::Resize {
            resize,
            sizes,
            axes,
            keep_aspect,
        } = late
        else {
            unreachable!("called for Resize")
        };
        let mode = match resize.coordinates {
            Coordinates::HalfPixel => "half_pixel",
            Coordinates::HalfPixelSymmetric => "half_pixel_symmetric",
            Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
            Coordinates::AlignCorners => "align_corners",
            Coordinates::Asymmetric => "asymmetric",
            Coordinates::CropAndResize => "tf_crop_and_resize",
        };
        let mut a = filter(resize.filter);
        a.push(("coordinate_transformation_mode", Attr::Text(mode)));
        a.push(("antialias", flag(resize.antialias)));
        a.push(("exclude_outside", flag(resize.exclude_outside)));
        a.push(("extrapolation_value", Attr::Float(resize.outside)));
        if !axes.is_empty() {
            a.push(("axes", Attr::Ints(axes.clone())));
        }
        if let Some(larger) = keep_aspect {
            let policy = if *larger { "not_smaller" } else { "not_larger" };
            a.push(("keep_aspect_ratio_policy", Attr::Text(policy)));
        }
        let [x, roi, last] = [0, 1, 2].map(|i| inputs[i].clone());
        let all = match sizes {
            true => vec![x, roi, String::new(), last],
            false => vec![x, roi, last],
        };
        Form::with("Resize", a).reading(all)
    }
}
