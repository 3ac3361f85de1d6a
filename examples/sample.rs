//! Noise becomes garments: sixteen samples of the shipped network, and the steps of the first one.
//!
//! ```sh
//! cargo run --release --example sample     # samples.png, steps.png
//! ```

use ddpm::prelude::*;

fn main() -> Result<()> {
    let model = checkpoint::GARMENTS.load()?;

    // Algorithm 2, over every 20th t of the 1000
    let (short, reverse) = respace(&model.unet, &model.reverse, 50);
    let keep: Vec<usize> = (1..=50).filter(|t| t % 5 == 0).collect();
    let (x0, steps) = progressive(&short, &reverse, [16, 28, 28, 1], &keep, &Noise::seed(1));
    Grid::new(&to_u8(&x0), 4).figure().save("samples.png")?;

    // x_t above, what the network takes x_0 for below
    let first = |x: &Batch| x.slice(s![..1, .., .., ..]).to_owned();
    let rows: Vec<Batch> = steps
        .iter()
        .map(|step| first(&step.x_t))
        .chain(steps.iter().map(|step| first(&step.x0_hat)))
        .collect();
    let views: Vec<_> = rows.iter().map(|row| row.view()).collect();
    let strip = ndarray::concatenate(Axis(0), &views).expect("images of one shape");
    Grid::new(&to_u8(&strip), steps.len()).scale(2).figure().save("steps.png")
}
