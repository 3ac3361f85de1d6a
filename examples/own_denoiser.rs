//! A denoiser of one's own behind the trait [`Denoiser`]: everything else, sampling, the bound, its terms, comes with it.
//!
//! This one knows 100 garments by heart. Where x_0 is one of them, each as likely as the others, the best guess of x_0 is
//! their mean, weighted by how well each explains x_t; and ε̂ = (x_t − √ᾱ_t x̂_0)/√(1 − ᾱ_t).
//!
//! ```sh
//! cargo run --release --example own_denoiser     # known_by_heart.png
//! ```

#![allow(clippy::print_stdout)]

use ddpm::prelude::*;

struct ByHeart {
    garments: Batch,
    schedule: Schedule,
}

impl Denoiser for ByHeart {
    fn predict(&self, x_t: &Batch, t: &[usize]) -> Batch {
        let mut eps_hat = x_t.clone();
        for (mut x, &t) in eps_hat.outer_iter_mut().zip(t) {
            let alpha_bar = self.schedule.alpha_bar(t);
            // log q(x_t | garment) up to a constant, and its softmax
            let log_q = |garment: &ndarray::ArrayView3<f64>| {
                let distance: f64 =
                    x.iter().zip(garment).map(|(x, g)| (x - alpha_bar.sqrt() * g).powi(2)).sum();
                -distance / (2.0 * (1.0 - alpha_bar))
            };
            let log_q: Vec<f64> = self.garments.outer_iter().map(|garment| log_q(&garment)).collect();
            let most = log_q.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = log_q.iter().map(|q| (q - most).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let garments = self.garments.outer_iter().zip(&weights);
            let mut x0_hat = Array3::zeros(x.raw_dim());
            garments.for_each(|(garment, weight)| x0_hat.scaled_add(weight / sum, &garment));
            x.zip_mut_with(&x0_hat, |x, x0| *x = (*x - alpha_bar.sqrt() * x0) / (1.0 - alpha_bar).sqrt());
        }
        eps_hat
    }
}

fn main() -> Result<()> {
    let schedule = Schedule::linear(1000);
    let all = fashion_mnist_test();
    let model = ByHeart { garments: all.batch(&(0..100).collect::<Vec<_>>()), schedule: schedule.clone() };
    let reverse = Reverse::new(schedule);
    let x0 = ddim_sample(&model, &reverse, &Ddim::new(100), [16, 28, 28, 1], &Noise::seed(1));
    Grid::new(&to_u8(&x0), 4).figure().save("known_by_heart.png")?;

    let times = TimeSteps::Stratified { count: 20, seed: 1 };
    let options = ElboOptions { time_steps: times, ..ElboOptions::default() };
    for (name, first) in [("garments it knows", 0), ("garments it has never seen", 100)] {
        let images = all.batch(&(first..first + 16).collect::<Vec<_>>());
        println!("{name}\n{}", elbo(&model, &reverse, &images, &options, &Noise::seed(2)));
    }
    Ok(())
}
