// %% [markdown]
// # 16 Latent diffusion
//
// **You will be able to** run diffusion on a code of an image instead of its pixels, train the autoencoder that makes the code, and add up the bound of the whole, in bits per pixel.
//
// **Before:** notebooks 04, 07 and 11. **Time:** 55 minutes. **Figure:** garments from codes; the bound of the whole model, term by term.
//
// Most of the bits of an image are spent on what hardly anyone sees (notebook 11: 1.8 of 1.9 bits of the rate, within 13 grey levels). Rombach and others (2022) leave them to an **autoencoder**: it turns the image into a small array of numbers $z$ and back, and diffusion has only $z$ to learn. Stable Diffusion is that. Nobody ever shows its bound on the image itself; we shall.

// %%
:dep ddpm = { package = "ddpm-notebook", path = "kernel" }
use ddpm::prelude::*;
ddpm::start();

// %% [markdown]
// The shipped model `latents` makes 4 numbers at each of 7×7 places out of 28×28 pixels. First row: test images. Second: encoded and decoded again. Third: what it makes of noise, twenty steps of DDIM on $z$, then the decoder.

// %%
let latents = checkpoint::LATENTS.load().unwrap();
let originals = fashion_mnist_test().batch(&(0..12).collect::<Vec<_>>());
let decoded = latents.pictures(latents.latents(originals.clone()));
fn from_noise(model: &checkpoint::Pretrained, n: usize) -> Batch {
    let z = ddim_sample(&model.unet, &model.reverse, &Ddim::new(20), [n, 7, 7, 4], &Noise::seed(16));
    model.pictures(z)
}
let drawn = from_noise(&latents, 12);
let rows: Batch = ndarray::concatenate![Axis(0), originals, decoded, drawn];
Grid::new(&to_u8(&rows), 12).scale(2).row_labels(["test", "decoded", "from noise"]).figure()

// %% [markdown]
// ## The best code that is linear
//
// How good could 196 numbers be? For a linear code that is known: find the directions in which the images vary most (the eigenvectors of their covariance), and keep the coordinates along the first $k$: principal components.
//
// ### Exercise 16.1 (pencil): what a linear code loses
//
// The variances along all directions are given, in no order. What is the mean squared error *per dimension* if the best $k$ are kept?

// %% tags=["exercise"]
/// The mean squared error per dimension of the best linear code of k numbers.
fn left_over(variances: &[f64], k: usize) -> f64 {
    todo!()
}

// %% tags=["check"]
check::left_over(left_over)

// %% [markdown]
// **Predict:** the shipped autoencoder, whose decoder is a small network: how much better than the linear code of as many numbers, in decibels of signal to noise? (PSNR, $10\log_{10}(255^2/\text{MSE})$; 3 dB are half the squared error.)

// %% tags=["predict"]
check::predict("The autoencoder, beside the linear code", &["is 10 dB better", "is 2 to 3 dB better", "is about as good", "is worse"], 0)

// %%
fn psnr(mse: f64) -> f64 { 10.0 * (4.0 / mse).log10() } // pixels are in [−1, 1]: their range squared is 4
let images = fashion_mnist_test().batch(&(0..1000).collect::<Vec<_>>());
let errors = (&latents.pictures(latents.latents(images.clone())) - &images).mapv(|d| d * d);
println!("autoencoder: PSNR {:.1} dB; the best linear code of 196 numbers, fitted to the training set: 23.5 dB", psnr(errors.mean().unwrap()));
assert!(psnr(errors.mean().unwrap()) > 25.0);

// %% [markdown]
// *What to see:* two decibels and more: a bit over half of the squared error that the linear code leaves.
//
// ## An encoder that throws dice
//
// The code should not be a secret language in which a hair's breadth means another image, or diffusion could not hit it. So the encoder says a *distribution*, $q(z|x)=\mathcal N(m(x), s^2(x))$, the decoder sees a draw of it, and a little of $\mathrm{KL}(q(z|x)\,\|\,\mathcal N(0,I))$ is added to the loss. For the gradient to pass through the dice, write $z = m + s\,\epsilon$ (Kingma and Welling 2014).
//
// ### Exercise 16.2 (code): backwards through a draw

// %% tags=["exercise"]
/// The gradients of m and of log s², from that of z = m + s ε.
fn through_sample(dz: f64, log_var: f64, eps: f64) -> [f64; 2] {
    todo!()
}

// %% tags=["check"]
check::through_sample(through_sample)

// %% [markdown]
// Then the numbers are scaled so that they have variance 1 over the data, since the chain ends in $\mathcal N(0, I)$ (diffusers calls the factor `scaling_factor`), and there is no reason to clip them to $[-1,1]$.

// %%
let z = latents.latents(images.clone());
let factor = latents.autoencoder.as_ref().unwrap().config.scaling_factor;
println!("scaling_factor {factor:.3}; the scaled codes: mean {:.2}, standard deviation {:.2}, largest {:.1}; clipped: {}", z.mean().unwrap(), z.std(0.0), z.iter().fold(0.0_f64, |a, z| a.max(z.abs())), latents.reverse.clip);
assert!((z.std(0.0) - 1.0).abs() < 0.15 && !latents.reverse.clip);

// %% [markdown]
// ## The bound, where everything is known
//
// A model of $z$ has a bound on $-\log p(z)$. But $z$ is not the image, and its numbers have no grey levels: a bound on $z$ alone is no statement about images, and can be made as small as one likes by scaling $z$. The whole model is $p(x) = \int p(z)\,p(x|z)\,dz$, and as in notebook 04, by Jensen,
//
// $$-\log p(x) \le \underbrace{\mathrm E_q[-\log p(x|z)]}_\text{decoder} + \underbrace{\mathrm E_q[\log q(z|x)]}_\text{minus an entropy} + \underbrace{\mathrm E_q[-\log p(z)]}_\text{prior}.$$
//
// Take one number: $p(z)=\mathcal N(0,1)$, $p(x|z)=\mathcal N(az, v)$. Then $p(x)=\mathcal N(0, a^2+v)$, and everything can be compared.
//
// ### Exercise 16.3 (code): the three parts

// %% tags=["exercise"]
/// E −log p(x|z), E log q(z|x) and E −log p(z) in nats, for q(z|x) = N(m, s2), p(z) = N(0, 1), p(x|z) = N(a z, v).
fn bound_parts(x: f64, a: f64, v: f64, m: f64, s2: f64) -> [f64; 3] {
    todo!()
}

// %% tags=["check"]
check::bound_parts(bound_parts)

// %% [markdown]
// **Predict:** for which $q$ is the bound equal to $-\log p(x)$?

// %% tags=["predict"]
check::predict("The bound is −log p(x) for", &["any q", "q(z|x) = p(z|x)", "q(z|x) = p(z)"], 0)

// %%
fn three(x: f64, a: f64, v: f64, m: f64, s2: f64) -> [f64; 3] {
    let log_2pi = (2.0 * std::f64::consts::PI).ln();
    let off = (x - a * m).powi(2) + a * a * s2;
    [0.5 * (log_2pi + v.ln() + off / v), -0.5 * (log_2pi + s2.ln() + 1.0), 0.5 * (log_2pi + m * m + s2)]
}
fn sum(x: f64, a: f64, v: f64, m: f64, s2: f64) -> f64 { three(x, a, v, m, s2).iter().sum() }
let (x, a, v) = (1.2, 0.9, 0.19);
let (m, s2) = (a * x / (a * a + v), v / (a * a + v)); // the true posterior
let exact = -log_normal(x, 0.0, (a * a + v).ln());
println!("−log p(x) = {exact:.4} nats; the bound with the true posterior N({m:.2}, {s2:.2}): {:.4}", sum(x, a, v, m, s2));
assert!((sum(x, a, v, m, s2) - exact).abs() < 1e-12);
let spreads: Vec<f64> = (1..=60).map(|k| 0.01 * f64::from(k)).collect();
let right: Vec<f64> = spreads.iter().map(|&s2| sum(x, a, v, m, s2)).collect();
let wrong: Vec<f64> = spreads.iter().map(|&s2| sum(x, a, v, m + 0.3, s2)).collect();
Chart::new("s^{2}, the variance of q(z|x)", "nats").y_range(1.5, 3.0)
    .line("mean as the true posterior's", &spreads, &right)
    .line("mean off by 0.3", &spreads, &wrong)
    .reference("−log p(x)", &[0.01, 0.6], &[exact, exact]).figure()

// %% [markdown]
// *What to see:* the bound touches at the true posterior only. An encoder that is too sure of itself (small $s^2$) pays for it in $\mathrm E\log q$.
//
// **Predict:** measure $z$ in other units, $z' = 1000\,z$, in both $q$ and the prior. Which of the three parts change?

// %% tags=["predict"]
check::predict("In other units for z there change", &["all three parts", "only those two that know z's density, and they cancel", "none"], 0)

// %%
let parts = three(x, a, v, m, s2);
let log_units = 1000_f64.ln(); // a density of z' is one of z, divided by 1000
println!("in units of z:  {:+.3} {:+.3} {:+.3}, together {:.4}", parts[0], parts[1], parts[2], parts.iter().sum::<f64>());
println!("in units of z': {:+.3} {:+.3} {:+.3}, together {:.4}", parts[0], parts[1] - log_units, parts[2] + log_units, parts.iter().sum::<f64>());

// %% [markdown]
// *What to see:* two of the three parts are densities, whose units cancel. So a single part may be anything, also negative; only the sum means something.
//
// ## The bound of garments
//
// For the trained model the prior's part is itself a bound, the one of the diffusion on $z$: $L_0 + \sum L_{t-1} + L_T$, where $L_0$ is the density of a continuous $z$ (no grey levels there), and the decoder is the discretised Gaussian of Eq. 13, with one variance for all pixels. On 32 test images, in bits for each of 784 pixels:

// %%
let t = stored("latent_bound.csv");
for ((name, bits), error) in t.text("term").iter().zip(t.column("bits_per_dim")).zip(t.column("std_error")) {
    println!("{name:18} {bits:+.4} ± {error:.4}");
}
let bits = t.column("bits_per_dim");
assert!((bits[..5].iter().sum::<f64>() - bits[5]).abs() < 1e-9);

// %%
let pixels: f64 = stored("elbo.csv").only("variance", "beta").column("bits_per_dim").iter().sum();
let itself: f64 = bits[1..5].iter().sum();
println!("latents: decoder {:.2} + z itself {itself:.2} = {:.2} bits/dim; pixels: {pixels:.2}", bits[0], bits[5]);
assert!(itself < 0.25 * pixels && bits[5] > pixels);

// %% [markdown]
// *What to see:* $z$ itself costs 0.7 bits for each pixel, a fifth of what the pixels cost. What is dear is the decoder: with one variance for all pixels it calls a black background as uncertain as a printed shirt. As a model of *likelihood* latent diffusion is the worse one by a bit. It was not made for that.
//
// ## What it is good for

// %%
let t = stored("latent.csv");
let (cost, frechet, error) = (t.column("gflop_per_image"), t.column("frechet"), t.column("frechet_error"));
for (i, name) in t.text("images").iter().enumerate() {
    println!("{name:36} {:6.2} GFLOP, Fréchet distance {:5.1} ± {:.1}", cost[i], frechet[i], error[i]);
}
assert!(cost[2] < 0.15 * cost[3]);

// %% [markdown]
// *What to see:* a sample costs a tenth of the operations. After ten minutes of training each, latents are clearly ahead (46 ± 5 against 76 ± 5); after a hundred minutes of pixels and thirty of latents they are not. The autoencoder is a floor that no training of the U-Net can pass; here it is low, 14.8 where real images have 13.2.
//
// One more thing codes are good for. **Predict:** the mean of two images, and the image of the mean of two codes.

// %% tags=["predict"]
check::predict("The mean of two codes decodes to", &["one garment between the two", "much the same as the mean of the images", "noise"], 0)

// %%
let pair = fashion_mnist_test().batch(&[1, 2]); // a pullover, a trouser
fn between(model: &checkpoint::Pretrained, pair: &Batch, in_codes: bool) -> Batch {
    let ends = if in_codes { model.latents(pair.clone()) } else { pair.clone() };
    let mix = |k: usize| {
        let w = k as f64 / 8.0;
        (1.0 - w) * &ends.slice(s![..1, .., .., ..]) + w * &ends.slice(s![1.., .., .., ..])
    };
    let all: Vec<Batch> = (0..=8).map(mix).collect();
    let views: Vec<_> = all.iter().map(|x| x.view()).collect();
    let mixed = ndarray::concatenate(Axis(0), &views).unwrap();
    if in_codes { model.pictures(mixed) } else { mixed }
}
let rows: Batch = ndarray::concatenate![Axis(0), between(&latents, &pair, false), between(&latents, &pair, true)];
Grid::new(&to_u8(&rows), 9).scale(2).row_labels(["pixels mixed", "codes mixed"]).figure()

// %% [markdown]
// *What to see:* at this size a code is still a picture, smaller and with four colours: the mixed codes fade into each other almost as the pixels do. It is the chain that changes garments into garments (notebook 12), in either space.
//
// ## Bug museum
//
// - The codes are not scaled: with a standard deviation of 5 they are hardly noised at $t=T$, with 0.2 they are gone half-way. `scaling_factor` in diffusers (0.18215 in Stable Diffusion) is one over their standard deviation.
// - $\hat x_0$ is clipped to $[-1,1]$ as for pixels: codes have no such bounds.
// - Bits of the latent bound alone beside bits of pixels. In other units of $z$ it would be another number.
// - The autoencoder's weights are averaged with a decay that suits a long run: after 3,000 steps the average is still the beginning.
//
// ## What latents do not do
//
// - They make samples cheap, not likelihoods good.
// - They don't come back sharp by themselves. A decoder of squared error paints the mean of what its code does not tell: of paintings at 64×64 it leaves 67 % of the difference of neighbouring pixels. Trained on against a discriminator, which learns to tell its images from real ones (Rombach et al., section 3.1; `ddpm sharpen`), it leaves 80 %, at half a decibel more error.
// - They don't make small images smaller for long: at 28×28 a tenth of the cost is left; at 512×512 it is a fiftieth.
//
// ### ★ Open
//
// Train an autoencoder with a tenth of the weight on its KL, and another with ten times as much. What happens to the three parts of the bound, and to the pictures?
//
// ## You can now
//
// - say what a linear code loses, and train one that is not linear through its dice;
// - add up the bound of a latent model, and tell which parts mean something alone.
//
// **Run it again.** `ddpm autoencode`, `ddpm train --latents runs/vae`, `ddpm elbo --model latents`, `ddpm figures --only latent`.

// %%
println!("{}", check::score());
