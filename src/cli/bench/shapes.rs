//! Which convolutions and products a network is made of.

use ddpm::nn::{Attention, Conv2d, ResnetBlock};
use ddpm::unet::{GROUP_SIZE, Unet};
use std::fmt;

/// Height and width.
type Size = (usize, usize);

/// A 3×3 convolution of stride 1 that keeps height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Convolution {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) size: Size,
}

impl Convolution {
    fn of(conv: &Conv2d, size: Size) -> Convolution {
        let (_, _, inputs, outputs) = conv.weight.dim();
        Convolution { inputs, outputs, size }
    }

    /// Operations per image, two per multiplication.
    pub(super) fn flops(self) -> f64 {
        (2 * 9 * self.inputs * self.outputs * self.size.0 * self.size.1) as f64
    }
}

/// `32->64@14`, or `32->64@14x20`.
impl fmt::Display for Convolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (h, w) = self.size;
        write!(f, "{}->{}@{h}", self.inputs, self.outputs)?;
        if h == w { Ok(()) } else { write!(f, "x{w}") }
    }
}

/// Which side of a product lies transposed in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transposed {
    Neither,
    Left,
    Right,
}

/// `A [m, k]` times `B [k, n]`, where one of them may lie transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Product {
    pub(super) name: &'static str,
    pub(super) sizes: [usize; 3],
    pub(super) transposed: Transposed,
}

impl Product {
    fn new(name: &'static str, sizes: [usize; 3]) -> Product {
        Product { name, sizes, transposed: Transposed::Neither }
    }

    /// Operations, two per multiplication.
    pub(super) fn flops(self) -> f64 {
        2.0 * self.sizes.map(|size| size as f64).iter().product::<f64>()
    }
}

/// `pv 196x196x64`.
impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [m, k, n] = self.sizes;
        write!(f, "{} {m}x{k}x{n}", self.name)
    }
}

/// The distinct convolutions of a network, in the order of the forward pass. (Those of an upsampling are not 3×3 when
/// they run: see `ddpm::nn::Upsample`.)
pub(super) fn convolutions(unet: &Unet, size: Size) -> Vec<Convolution> {
    let blocks = levels(unet, size).into_iter().flat_map(|level| {
        let pair = move |r: &ResnetBlock| [&r.conv1, &r.conv2].map(|c| Convolution::of(c, level.size));
        level.resnets.iter().flat_map(pair)
    });
    let ends = [&unet.conv_in, &unet.conv_out].map(|conv| Convolution::of(conv, size));
    distinct(ends[..1].iter().copied().chain(blocks).chain(ends[1..].iter().copied()))
}

/// The products of attention, per image and head but the projections and the gradients of their weights per group of
/// images, and two squares.
pub(super) fn products(unet: &Unet, size: Size) -> Vec<Product> {
    let of_attention = levels(unet, size).into_iter().flat_map(|level| {
        let tokens = level.size.0 * level.size.1;
        let pixels = GROUP_SIZE * tokens;
        level.attentions.iter().flat_map(move |attention: &Attention| {
            let channels = attention.to_q.bias.len();
            let head = channels / attention.heads;
            [
                Product { transposed: Transposed::Right, ..Product::new("qk^T", [tokens, head, tokens]) },
                Product::new("pv", [tokens, tokens, head]),
                Product::new("projection", [pixels, channels, channels]),
                Product {
                    transposed: Transposed::Left,
                    ..Product::new("x^Tdy", [channels, pixels, channels])
                },
            ]
        })
    });
    distinct(of_attention.chain([512, 1024].map(|n| Product::new("square", [n; 3]))))
}

/// The blocks of one level, on the way down, in the middle or on the way up, and the size of the images there.
#[derive(Clone, Copy)]
struct Level<'a> {
    size: Size,
    resnets: &'a [ResnetBlock],
    attentions: &'a [Attention],
}

fn levels(unet: &Unet, size: Size) -> Vec<Level<'_>> {
    let coarsest = unet.down_blocks.len() - 1;
    let level = |i, resnets, attentions| Level { size: halved(size, i), resnets, attentions };
    let down = unet.down_blocks.iter().enumerate().map(|(i, b)| level(i, &b.resnets, &b.attentions));
    let mid = level(coarsest, &unet.mid_block.resnets, &unet.mid_block.attentions);
    let up = (0..=coarsest).rev().zip(&unet.up_blocks).map(|(i, b)| level(i, &b.resnets, &b.attentions));
    down.chain([mid]).chain(up).collect()
}

/// The size after so many downsamplings.
fn halved((h, w): Size, times: usize) -> Size {
    (h >> times, w >> times)
}

/// Every item once, where it first stands.
fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut all = Vec::new();
    for item in items {
        if !all.contains(&item) {
            all.push(item);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use ddpm::rng::stream;
    use ddpm::unet::UnetConfig;

    fn names(all: &[impl fmt::Display]) -> Vec<String> {
        all.iter().map(|one| one.to_string()).collect()
    }

    /// Two levels, written down by hand from the drawing in `unet`.
    #[test]
    fn a_small_network_taken_apart() {
        let unet = Unet::new(&UnetConfig::paper(8, 1, &[8, 16], 1, 4), &mut stream(0, 0));
        let down = ["1->8@8x6", "8->8@8x6", "8->16@4x3", "16->16@4x3"];
        // up: [16, skip 16], [16, skip 8]; then [16, skip 8], [8, skip 8]
        let up = ["32->16@4x3", "24->16@4x3", "24->8@8x6", "16->8@8x6"];
        assert_eq!(names(&convolutions(&unet, (8, 6))), [&down[..], &up, &["8->1@8x6"]].concat());
        let products = products(&unet, (8, 6));
        let squares = ["square 512x512x512", "square 1024x1024x1024"];
        let projection = format!("projection {}x16x16", 12 * GROUP_SIZE);
        let gradient = format!("x^Tdy 16x{}x16", 12 * GROUP_SIZE);
        let attention = ["qk^T 12x16x12", "pv 12x12x16", &projection, &gradient];
        assert_eq!(names(&products), [&attention[..], &squares].concat());
    }

    #[test]
    fn operations_are_two_per_multiplication() {
        let conv = Convolution { inputs: 3, outputs: 5, size: (7, 7) };
        assert_eq!(conv.to_string(), "3->5@7");
        assert_eq!(conv.flops(), 2.0 * 9.0 * 15.0 * 49.0);
        assert_eq!(Product::new("pv", [2, 3, 5]).flops(), 60.0);
    }
}
