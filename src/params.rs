//! Named parameters in a fixed order.
//!
//! A model is a plain struct of structs. Its fields carry the names of diffusers' state dict, so the path to a
//! parameter *is* its key in a checkpoint (`down_blocks.0.resnets.1.conv1.weight`). Gradients, Adam's moments
//! and the averaged weights are values of the model's own type, and walk side by side.

use ndarray::{ArrayViewD, ArrayViewMutD};

/// In which order PyTorch keeps the axes of a parameter, and so checkpoints. The layer says it: a table of embeddings is
/// `[classes, channels]` in both, and yet a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// as here
    Plain,
    /// `[in, out]` here, `[out, in]` there
    Linear,
    /// `[k, k, in, out]` here, `[out, in, k, k]` there
    Conv,
}

/// What [`Params::visit`] calls with key, layout and tensor.
pub type Visitor<'f, 'a> = dyn FnMut(String, Layout, ArrayViewD<'a, f32>) + 'f;
/// As [`Visitor`], to write.
pub type VisitorMut<'f, 'a> = dyn FnMut(String, Layout, ArrayViewMutD<'a, f32>) + 'f;

/// A value with named parameters: a tensor, a layer, a whole model.
pub trait Params: Clone {
    /// Calls `f` with the key, the layout and the tensor of each parameter, in the order of the fields.
    fn visit<'a>(&'a self, path: &str, f: &mut Visitor<'_, 'a>);

    /// As [`visit`](Params::visit), to write.
    fn visit_mut<'a>(&'a mut self, path: &str, f: &mut VisitorMut<'_, 'a>);

    /// All parameters with their keys.
    fn named(&self) -> Vec<(String, ArrayViewD<'_, f32>)> {
        self.tensors().into_iter().map(|(key, _, tensor)| (key, tensor)).collect()
    }

    /// All parameters with their keys, to write.
    fn named_mut(&mut self) -> Vec<(String, ArrayViewMutD<'_, f32>)> {
        self.tensors_mut().into_iter().map(|(key, _, tensor)| (key, tensor)).collect()
    }

    /// All parameters with their keys and layouts.
    fn tensors(&self) -> Vec<(String, Layout, ArrayViewD<'_, f32>)> {
        let mut all = Vec::new();
        self.visit("", &mut |key, layout, tensor| all.push((key, layout, tensor)));
        all
    }

    /// All parameters with their keys and layouts, to write.
    fn tensors_mut(&mut self) -> Vec<(String, Layout, ArrayViewMutD<'_, f32>)> {
        let mut all = Vec::new();
        self.visit_mut("", &mut |key, layout, tensor| all.push((key, layout, tensor)));
        all
    }

    /// The numbers of each parameter, in order.
    fn slices(&self) -> Vec<&[f32]> {
        let mut all = Vec::new();
        self.visit("", &mut |_, _, tensor| all.push(tensor.to_slice().expect("parameters are contiguous")));
        all
    }

    /// The numbers of each parameter, in order, to write.
    fn slices_mut(&mut self) -> Vec<&mut [f32]> {
        let mut all = Vec::new();
        self.visit_mut("", &mut |_, _, tensor| {
            all.push(tensor.into_slice().expect("parameters are contiguous"))
        });
        all
    }

    /// How many numbers there are.
    fn count(&self) -> usize {
        self.slices().iter().map(|s| s.len()).sum()
    }

    /// The same structure filled with zeros: a fresh gradient.
    fn zeros_like(&self) -> Self {
        let mut zeros = self.clone();
        zeros.slices_mut().into_iter().for_each(|s| s.fill(0.0));
        zeros
    }
}

pub(crate) fn join_key(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_string() } else { format!("{path}.{field}") }
}

impl<D: ndarray::Dimension> Params for ndarray::Array<f32, D> {
    fn visit<'a>(&'a self, path: &str, f: &mut Visitor<'_, 'a>) {
        f(path.to_string(), Layout::Plain, self.view().into_dyn());
    }
    fn visit_mut<'a>(&'a mut self, path: &str, f: &mut VisitorMut<'_, 'a>) {
        f(path.to_string(), Layout::Plain, self.view_mut().into_dyn());
    }
}

/// `resnets: Vec<ResnetBlock>` has the keys `resnets.0.…`, `resnets.1.…`.
impl<T: Params> Params for Vec<T> {
    fn visit<'a>(&'a self, path: &str, f: &mut Visitor<'_, 'a>) {
        self.iter().enumerate().for_each(|(i, item)| item.visit(&join_key(path, &i.to_string()), f));
    }
    fn visit_mut<'a>(&'a mut self, path: &str, f: &mut VisitorMut<'_, 'a>) {
        self.iter_mut().enumerate().for_each(|(i, item)| item.visit_mut(&join_key(path, &i.to_string()), f));
    }
}

/// An absent layer has no parameters.
impl<T: Params> Params for Option<T> {
    fn visit<'a>(&'a self, path: &str, f: &mut Visitor<'_, 'a>) {
        self.iter().for_each(|item| item.visit(path, f));
    }
    fn visit_mut<'a>(&'a mut self, path: &str, f: &mut VisitorMut<'_, 'a>) {
        self.iter_mut().for_each(|item| item.visit_mut(path, f));
    }
}

/// Implements [`Params`] for a struct: `params!(Linear { weight: Linear, bias });`. Fields not named are not parameters; the
/// layout of a tensor stands behind its name, unless it is [`Plain`](Layout::Plain).
macro_rules! params {
    ($model:ident { $($field:ident $(: $layout:ident)?),* $(,)? }) => {
        impl $crate::params::Params for $model {
            fn visit<'a>(&'a self, path: &str, f: &mut $crate::params::Visitor<'_, 'a>) {
                $($crate::params::params!(@visit (visit) (&self.$field) $field path f $($layout)?);)*
            }
            fn visit_mut<'a>(&'a mut self, path: &str, f: &mut $crate::params::VisitorMut<'_, 'a>) {
                $($crate::params::params!(@visit (visit_mut) (&mut self.$field) $field path f $($layout)?);)*
            }
        }
    };
    (@visit ($visit:ident) ($value:expr) $field:ident $path:ident $f:ident) => {
        $crate::params::Params::$visit($value, &$crate::params::join_key($path, stringify!($field)), $f)
    };
    (@visit ($visit:ident) ($value:expr) $field:ident $path:ident $f:ident $layout:ident) => {
        $crate::params::Params::$visit(
            $value,
            &$crate::params::join_key($path, stringify!($field)),
            &mut |key, _, tensor| $f(key, $crate::params::Layout::$layout, tensor),
        )
    };
}
pub(crate) use params;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Linear;
    use ndarray::{Array1, Array2};

    #[derive(Clone)]
    struct Model {
        last: Array1<f32>,
        layers: Vec<Linear>,
        present: Option<Linear>,
        absent: Option<Linear>,
        _not_a_parameter: Array1<f32>,
    }

    params!(Model { layers, absent, present, last });

    fn model() -> Model {
        let linear = |i: f32| Linear { weight: Array2::from_elem((2, 3), i), bias: Array1::from_elem(3, -i) };
        Model {
            last: Array1::from_elem(1, 9.0),
            layers: vec![linear(1.0), linear(2.0)],
            present: Some(linear(3.0)),
            absent: None,
            _not_a_parameter: Array1::zeros(7),
        }
    }

    #[test]
    fn keys_are_paths_in_the_order_of_the_macro() {
        let model = model();
        let keys: Vec<String> = model.named().into_iter().map(|(key, _)| key).collect();
        let want = [
            "layers.0.weight",
            "layers.0.bias",
            "layers.1.weight",
            "layers.1.bias",
            "present.weight",
            "present.bias",
            "last",
        ];
        assert_eq!(keys, want);
        let mut again = model.clone();
        let keys: Vec<String> = again.named_mut().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, want);
        assert_eq!(model.count(), 3 * 9 + 1);
    }

    #[test]
    fn the_layer_says_its_layout() {
        let layouts: Vec<Layout> = model().tensors().into_iter().map(|(_, layout, _)| layout).collect();
        use Layout::{Linear, Plain};
        assert_eq!(layouts, [Linear, Plain, Linear, Plain, Linear, Plain, Plain]);
        let mut again = model();
        let again: Vec<Layout> = again.tensors_mut().into_iter().map(|(_, layout, _)| layout).collect();
        assert_eq!(again, layouts);
    }

    #[test]
    fn slices_are_the_same_numbers_and_can_be_written() {
        let mut model = model();
        assert_eq!(model.slices()[2], [2.0; 6]);
        model.slices_mut()[6][0] = 5.0;
        assert_eq!(model.last[0], 5.0);
        let zeros = model.zeros_like();
        assert!(zeros.slices().concat().iter().all(|&w| w == 0.0));
        assert_eq!(zeros.count(), model.count());
        assert_eq!(model.layers[0].bias[0], -1.0, "the original is untouched");
    }
}
