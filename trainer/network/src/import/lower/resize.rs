//! Resize and Upsample.

use lrpet_runtime::model::{Coordinates, Nearest, ResizeMode};

use super::{Inputs, Lower, Reason};
use crate::import::fold::index;
use crate::import::graph::Node;
use crate::import::step::What;
use crate::import::view::View;

impl Lower<'_> {
    pub(super) fn resize(&mut self, node: &Node, inputs: &Inputs) -> Result<View, Reason> {
        let view = inputs.view(0)?;
        let dims = view.dims();
        let old = node.operator == "Upsample" || self.graph.opset < 11;
        let list = |place: usize, what: &str| -> Result<Option<Vec<f64>>, Reason> {
            let found = inputs.constant(place, what)?.map(crate::import::tensor::Tensor::to_f64);
            Ok(found.filter(|list| !list.is_empty()))
        };
        let (scales, sizes) = if old {
            let attribute = match node.attributes.get("scales") {
                Some(crate::import::graph::Attribute::Floats(scales)) => {
                    Some(scales.iter().map(|&x| f64::from(x)).collect())
                }
                _ => None,
            };
            (attribute.map_or_else(|| list(1, "scales"), |scales| Ok(Some(scales)))?, None)
        } else {
            (list(2, "scales")?, list(3, "sizes")?)
        };
        let axes = match node.ints("axes") {
            Some(axes) => axes.iter().map(|&axis| index(axis, dims.len())).collect::<Result<Vec<_>, _>>()?,
            None => (0..dims.len()).collect(),
        };
        let given = scales.as_ref().or(sizes.as_ref()).ok_or("its scales and sizes are missing")?;
        if given.len() != axes.len() {
            return Err(format!("it has {} scales or sizes for {} axes", given.len(), axes.len()));
        }
        if node.text("keep_aspect_ratio_policy").is_some_and(|policy| policy != "stretch") {
            return Err("its keep_aspect_ratio_policy is not `stretch`".to_owned());
        }
        if node.int("antialias").unwrap_or(0) == 1 {
            return Err("its antialias is 1; only resizing without is imported".to_owned());
        }
        let mut factors = vec![1.0; dims.len()];
        let mut lengths = dims.clone();
        for (at, &axis) in axes.iter().enumerate() {
            let value = given[at];
            if !(value > 0.0 && value < 65536.0) {
                return Err(format!("its scale or size along axis {axis} is {value}"));
            }
            (factors[axis], lengths[axis]) = if scales.is_some() {
                (value, (dims[axis] as f64 * f64::from(value as f32)).floor() as usize)
            } else {
                (value / dims[axis] as f64, value as usize)
            };
        }
        let mode = match node.text("mode").unwrap_or("nearest") {
            "nearest" if old => ResizeMode::Nearest(Nearest::Floor),
            "nearest" => {
                ResizeMode::Nearest(match node.text("nearest_mode").unwrap_or("round_prefer_floor") {
                    "round_prefer_floor" => Nearest::RoundDown,
                    "round_prefer_ceil" => Nearest::RoundUp,
                    "floor" => Nearest::Floor,
                    "ceil" => Nearest::Ceil,
                    other => return Err(format!("its nearest_mode is {other:?}")),
                })
            }
            "linear" | "bilinear" => ResizeMode::Linear,
            other => return Err(format!("its mode is {other:?}; nearest and linear are imported")),
        };
        let coordinates = match node.text("coordinate_transformation_mode").unwrap_or("half_pixel") {
            _ if old => Coordinates::Asymmetric,
            "half_pixel" => Coordinates::HalfPixel,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            other => return Err(format!("its coordinate_transformation_mode is {other:?}")),
        };
        if lengths == dims {
            self.pass("resizing to the size that it is");
            return Ok(view.clone());
        }
        let placed = self.placed(view)?;
        let slots = placed.slots;
        let shape = self.shape(placed.view.value);
        let of = |slot: usize| slots[slot].map_or((1.0, shape[slot]), |axis| (factors[axis], lengths[axis]));
        let unplaced =
            (0..dims.len()).find(|axis| lengths[*axis] != dims[*axis] && !slots.contains(&Some(*axis)));
        if of(0).1 != shape[0] || unplaced.is_some() {
            return Err("resizes an axis that is neither rows nor columns".to_owned());
        }
        let made = [shape[0], of(1).1, of(2).1];
        let mut factors = [of(1).0 as f32, of(2).0 as f32];
        let mut coordinates = coordinates;
        // The file's corners are those of a size that may be no whole number.
        let whole =
            |at: usize| (shape[at] as f64 * of(at).0 - made[at] as f64).abs() < 1e-3 * made[at] as f64;
        if coordinates == Coordinates::AlignCorners && !(whole(1) && whole(2)) {
            coordinates = Coordinates::Asymmetric;
            for (at, factor) in factors.iter_mut().enumerate() {
                let size = shape[at + 1] as f64;
                if size > 1.0 {
                    *factor = ((size * of(at + 1).0 - 1.0) / (size - 1.0)) as f32;
                }
            }
            if factors.iter().any(|factor| *factor <= 0.0) {
                return Err("its corners are aligned to less than a pixel".to_owned());
            }
        }
        let what = What::Resize { mode, coordinates, scales: factors };
        let value = self.push(what, &[placed.view.value], made, String::new())?;
        Ok(placed.with(value, made))
    }
}
