//! One look for every figure: colours, sizes, dashes.
//!
//! Lengths are in canvas units, of which a PNG has two per pixel; see [`Figure`](super::Figure).

/// A colour, 8 bits each of red, green, blue.
pub type Rgb = (u8, u8, u8);

/// The colours of series, in order: Okabe and Ito's palette, which colour-blind readers and grey printers can tell
/// apart, from the darkest hues on; its yellow is left out, since it vanishes on white.
pub const SERIES: [Rgb; 6] = [
    (0x00, 0x72, 0xb2), // blue
    (0xd5, 0x5e, 0x00), // vermilion
    (0x00, 0x9e, 0x73), // bluish green
    (0xcc, 0x79, 0xa7), // reddish purple
    (0xe6, 0x9f, 0x00), // orange
    (0x56, 0xb4, 0xe9), // sky blue
];
/// Text and axes.
pub const INK: Rgb = (0x22, 0x22, 0x22);
/// Remarks and tick labels.
pub const GREY: Rgb = (0x66, 0x66, 0x66);
/// Grid lines.
pub const FAINT: Rgb = (0xe4, 0xe4, 0xe4);
/// The paper.
pub const PAPER: Rgb = (0xff, 0xff, 0xff);

/// The em of axis labels, legends and titles.
pub const LABEL: f32 = 38.0;
/// The em of tick labels and remarks.
pub const TICK: f32 = 33.0;
/// The width of a series' line.
pub const STROKE: f64 = 5.0;
/// The width of axes and ticks.
pub const HAIR: f64 = 2.0;
/// The empty border around a figure.
pub const MARGIN: f64 = 28.0;

/// The colour of the `k`-th series; after the sixth they repeat.
pub fn series(k: usize) -> Rgb {
    SERIES[k % SERIES.len()]
}

/// Lengths of dash and gap of the `k`-th series, so that series differ without colour too; empty: a solid line.
pub(super) fn dash(k: usize) -> &'static [f64] {
    [&[], &[26.0, 12.0][..], &[6.0, 10.0], &[30.0, 10.0, 6.0, 10.0]][k % 4]
}

/// `colour` mixed with white: `strength` 1 leaves it, 0 is white.
pub(super) fn tint((r, g, b): Rgb, strength: f64) -> Rgb {
    let mix = |level: u8| (255.0 - strength * (255.0 - f64::from(level))).round() as u8;
    (mix(r), mix(g), mix(b))
}
