//! The paper's Fig. 2: the chain of latents, learned in one direction, fixed in the other.

use super::grid::enlarged_rgb;
use super::page::{HPos, Page, Point, Type, VPos};
use super::{Figure, style};
use crate::Result;
use ndarray::Array4;

/// Centres of the nodes along the chain, and their names; the dots stand for the steps between.
const NODES: [(f64, &str); 6] = [
    (130.0, "x_{T}"),
    (510.0, "· · ·"),
    (850.0, "x_{t}"),
    (1370.0, "x_{t−1}"),
    (1710.0, "· · ·"),
    (2070.0, "x_{0}"),
];
const RADIUS: f64 = 92.0;

/// x_T → … → x_t → x_{t−1} → … → x_0: the reverse process p_θ solid, the forward process q dashed.
///
/// With `images` `[4, H, W, C]` of x_T, x_t, x_{t−1}, x_0, each stands above its node.
///
/// # Panics
/// If there are images, but not four grey or RGB ones.
///
/// ```
/// assert!(ddpm::figures::graphical_model(None).to_svg()?.contains("stroke"));
/// # Ok::<(), ddpm::Error>(())
/// ```
#[track_caller]
pub fn graphical_model(images: Option<&Array4<u8>>) -> Figure {
    if let Some(images) = images {
        let (n, h, w, c) = images.dim();
        assert!(
            n == 4 && h * w > 0 && (c == 1 || c == 3),
            "graphical_model: {n} images of {h}x{w}x{c}, not 4"
        );
    }
    let images = images.cloned();
    let scale = images.as_ref().map_or(0, |images| (200 / images.dim().1.max(images.dim().2)).max(1));
    let above = images.as_ref().map_or(0, |images| images.dim().1 * scale + 40);
    Figure::new(1100, (above as u32 + 360) / 2, move |page| {
        let y = above as f64 + 130.0;
        if let Some(images) = &images {
            for (image, (x, _)) in images.outer_iter().zip([NODES[0], NODES[2], NODES[3], NODES[5]]) {
                let (w, h) = (image.dim().1 * scale, image.dim().0 * scale);
                page.image((x - w as f64 / 2.0, 20.0), (w as u32, h as u32), &enlarged_rgb(image, scale))?;
            }
        }
        chain(page, y)?;
        let kind = Type::new(44.0, style::INK, HPos::Center, VPos::Bottom);
        let middle = (NODES[2].0 + NODES[3].0) / 2.0;
        page.text("p_{θ}(x_{t−1} | x_{t})", (middle, y - 30.0), kind)?;
        page.text("q(x_{t} | x_{t−1})", (middle, y + 205.0), Type { colour: style::series(1), ..kind })
    })
}

/// Nodes and solid arrows along `y`, and the dashed arrow below.
fn chain(page: &Page<'_>, y: f64) -> Result<()> {
    let radius = |name: &str| if name.starts_with('x') { RADIUS } else { 62.0 };
    for pair in NODES.windows(2) {
        let ((from, a), (to, b)) = (pair[0], pair[1]);
        page.arrow(&[(from + radius(a), y), (to - radius(b) - 6.0, y)], &[], style::INK)?;
    }
    let (right, left) = (NODES[3].0 - 70.0, NODES[2].0 + 70.0);
    let (top, dip) = (y + 70.0, 150.0);
    // a parabola from x_{t−1} back to x_t
    let arc = |s: f64| (right + (left - right) * s, top + dip * 2.0 * s * (1.0 - s));
    let path: Vec<Point> = (0..=60).map(|i| arc(f64::from(i) / 60.0)).collect();
    page.arrow(&path, &[16.0, 12.0], style::series(1))?;
    let kind = Type::new(52.0, style::INK, HPos::Center, VPos::Center);
    for (x, name) in NODES {
        if name.starts_with('x') {
            page.disc((x, y), RADIUS, style::INK)?;
            page.disc((x, y), RADIUS - 4.0, style::PAPER)?;
        }
        page.text(name, (x, y), kind)?;
    }
    Ok(())
}
