// %% [markdown]
// # 12 The paper's other figures
//
// **You will be able to** show how an image comes into being step by step, what a latent $x_t$ has already decided, and how two images are mixed in it; and read the paper's ablation, Table 2, with networks of your own.
//
// **Before:** notebooks 03 (the sampler), 10 (the trained network) and 11 (bits). **Time:** 75 minutes. **Figure:** one painting turns into another, at nine depths.
//
// Two networks come with the crate: one of garments, and one of paintings, which has seen 196 whole works, most of them impressionist, at 32×32 pixels. Both know a chain of $T=1000$ steps. To save time we walk every tenth of them or so: `respace` makes a shorter chain with the same noise levels (notebook 13 says why that works). Labels keep the $t$ of the long one.

// %%
:dep ddpm = { package = "ddpm-notebook", path = "kernel" }
use ddpm::prelude::*;
ddpm::start();

// %%
let garments: checkpoint::Pretrained = checkpoint::GARMENTS.load().unwrap();
let painter: checkpoint::Pretrained = checkpoint::PAINTINGS.load().unwrap();
println!("garments: {} parameters, paintings: {}", garments.unet.count(), painter.unet.count());

// %% [markdown]
// ## The image at every step (Figs. 6 and 14)
//
// At each step of Algorithm 2 the network guesses the noise $\epsilon_\theta(x_t,t)$, and with it the image (Eq. 15, with $\epsilon_\theta$ the network and $\bar\alpha_t$ what is left of the image's variance):
//
// $$\hat x_0(x_t) = \frac{x_t-\sqrt{1-\bar\alpha_t}\;\epsilon_\theta(x_t,t)}{\sqrt{\bar\alpha_t}},$$
//
// clipped to $[-1,1]$, where grey levels live. The paper's text leaves it open; its code clips.
//
// ### Exercise 12.1 (code): the guess

// %% tags=["exercise"]
/// x̂_0 of Eq. 15 from x_t, the guessed noise and ᾱ_t, clipped to [−1, 1].
fn x0_estimate(x_t: &Batch, eps_hat: &Batch, alpha_bar: f64) -> Batch {
    todo!()
}

// %% tags=["check"]
check::x0_estimate(x0_estimate)

// %%
/// Images of one size, as a grid; their pixels come one after the other.
fn grid(pixels: &[u8], [side, channels]: [usize; 2], columns: usize) -> Grid {
    let shape = (pixels.len() / (side * side * channels), side, side, channels);
    Grid::new(&Array4::from_shape_vec(shape, pixels.to_vec()).unwrap(), columns)
}
let all: Vec<usize> = (1..=100).collect();
let (x0, steps): (Batch, Vec<Snapshot>) = {
    let (model, reverse) = respace(&garments.unet, &garments.reverse, 100);
    progressive(&model, &reverse, [8, 28, 28, 1], &all, &Noise::seed(1))
};
let mut images: Vec<u8> = Vec::new();
let shown: [usize; 12] = [100, 90, 80, 70, 60, 50, 40, 30, 20, 10, 5, 1]; // steps of the short chain
for n in [0, 2] {
    for guess in [false, true] {
        for t in shown {
            let step = &steps[100 - t];
            let x = if guess { &step.x0_hat } else { &step.x_t };
            images.extend(to_u8(&x.index_axis(Axis(0), n)));
        }
    }
}
grid(&images, [28, 1], 12)
    .column_labels(shown.map(|t| if t == 100 { "t = 1000".to_string() } else { format!("{}", 10 * t) }))
    .row_labels((0..2).flat_map(|_| ["x_{t}", "x\u{302}_{0}"])).figure()

// %% [markdown]
// *What to see:* two samples, each as it stands ($x_t$) and as the network would bet on it ($\hat x_0$). At $t=1000$ it is hardly a bet: Eq. 15 divides the network's small error by $\sqrt{\bar\alpha_{1000}}=0.006$. From $t=700$ on the outline is there, while $x_t$ is still mostly noise; seams and prints come last. And all in motion, every eighth step:

// %%
let mut frames: Vec<Array3<u8>> = Vec::new();
for step in steps.iter().filter(|step| step.t % 8 == 0 || step.t == 1) {
    let both = ndarray::concatenate![Axis(0), step.x_t.slice(s![..4, .., .., ..]), step.x0_hat.slice(s![..4, .., .., ..])];
    frames.push(figures::tile(&to_u8(&both), 4, 2));
}
let (h, w, _): (usize, usize, usize) = frames[0].dim();
Gif::new(&Array4::from_shape_vec((frames.len(), h, w, 1), frames.iter().flatten().copied().collect()).unwrap(), 200).scale(2)

// %% [markdown]
// Large forms appear first and details last, says the paper (section 4.3). Let us measure it on eight samples. The **coarse** part of an image is its means over squares of 7×7 pixels, the **fine** part what the means over 2×2 leave out, the **middle** what lies between.
//
// **Predict:** at which $t$ is each part of $\hat x_0$ half as wrong as a guess of zero would be? Coarse: 900, 650 or 400?

// %% tags=["predict"]
check::predict("The coarse part is half known at t =", &["900", "650", "400"], 0)

// %%
/// Every square of k×k pixels replaced by its mean; [N, 28, 28, 1].
fn squares(x: &Batch, k: usize) -> Batch {
    let mut means = x.clone();
    for mut square in means.exact_chunks_mut((1, k, k, 1)) {
        let mean = square.mean().unwrap();
        square.fill(mean);
    }
    means
}
/// Root mean squares of the coarse, the middle and the fine part.
fn sizes(x: &Batch) -> [f64; 3] {
    let (seven, two) = (squares(x, 7), squares(x, 2));
    [seven.clone(), &two - &seven, x - &two].map(|part| part.mapv(|x| x * x).mean().unwrap().sqrt())
}
let whole: [f64; 3] = sizes(&x0);
let t: Vec<f64> = steps.iter().map(|step| 10.0 * step.t as f64).collect();
let off: Vec<[f64; 3]> = steps.iter().map(|step| sizes(&(&step.x0_hat - &x0))).collect();
let relative: [Vec<f64>; 3] = [0, 1, 2].map(|part| off.iter().map(|off| off[part] / whole[part]).collect());
let half: [f64; 3] = [0, 1, 2].map(|part| t[relative[part].iter().position(|&share| share < 0.5).unwrap()]);
println!("half-way at t = {} (coarse), {} (middle), {} (fine)", half[0], half[1], half[2]);
assert!(half[0] > half[1] && half[1] > half[2]);
Chart::new("t", "error of x\u{302}_{0}, relative").line("coarse", &t, &relative[0]).line("middle", &t, &relative[1])
    .line("fine", &t, &relative[2]).reference("guess of zero", &[0.0, 1000.0], &[1.0, 1.0]).figure()

// %% [markdown]
// *What to see:* the chain runs from right to left, and each part is measured against its own size in the final image. Coarse forms are half there at $t=680$, the middle at 460, fine detail at 280. Near $t=1000$ the guess of the fine part is worse than none, which is the network's small error, divided by $\sqrt{\bar\alpha_t}$.
//
// ## What a latent has decided (Fig. 7)
//
// One chain goes from $x_{1000}$ down to some $x_t$; from there six chains go on with noises of their own. What the six have in common was decided in $x_t$.

// %%
fn family(model: &checkpoint::Pretrained, depth: usize) -> (Array3<f64>, Batch) {
    let (short, reverse) = respace(&model.unet, &model.reverse, 100);
    shared_latents(&short, &reverse, [6, 28, 28, 1], depth, &Noise::seed(3))
}
let families: Vec<(Array3<f64>, Batch)> = [100, 75, 50, 25].iter().map(|&depth| family(&garments, depth)).collect();
let judge: Classifier = Classifier::shipped().unwrap();
let mut images: Vec<u8> = Vec::new();
for ((latent, six), t) in families.iter().zip([1000, 750, 500, 250]) {
    images.extend(to_u8(latent));
    images.extend(to_u8(six));
    let names: Vec<&str> = judge.judge(&to_u8(six)).classes().into_iter().map(|class| FASHION_MNIST_CLASSES[class]).collect();
    println!("t = {t}: {}", names.join(", "));
}
grid(&images, [28, 1], 7)
    .row_labels(["t = 1000", "t = 750", "t = 500", "t = 250"])
    .column_labels(["x_{t}", "x_{0}, 1", "2", "3", "4", "5", "6"]).figure()

// %% [markdown]
// *What to see:* number 1 goes on with the noise of the chain it comes from, so it is the same picture in every row. The others tell: six that share $x_{1000}$ have nothing in common, since $x_{1000}$ is as good as pure noise; at $t=500$ all but one are shoes; those from $x_{250}$ differ in straps and soles. The names are those of a small classifier that comes with the crate, right on 92.1 % of the test set; notebook 13 measures with it.
//
// ## Between two images (Figs. 8 and 9)
//
// Mix two images not in pixels but in latents. Both are taken to depth $t$, mixed there, and decoded by the reverse chain:
//
// $$x_t\sim q(x_t|x_0),\qquad x'_t\sim q(x_t|x'_0),\qquad \bar x_t = (1-\lambda)\,x_t+\lambda\,x'_t,\qquad \bar x_0\sim p_\theta(x_0|\bar x_t).$$
//
// (The paper's section 4.4 prints both latents as drawn from $q(x_t|x_0)$; a prime is lost. With one image at both ends there would be nothing between them.) The two noises are the same for all $\lambda$, and so are those of the decoding, so that only $\lambda$ changes along a row.
//
// ### Exercise 12.2 (code): the mixed latent
//
// Published versions of this have mixed up the ends. The identities at $\lambda=0$ and $\lambda=1$ find it at once.

// %% tags=["exercise"]
/// x̄_t from two images, λ, ᾱ_t and the two noises.
fn mixed_latent(x0: &Batch, x0_prime: &Batch, lambda: f64, alpha_bar: f64, eps: &Batch, eps_prime: &Batch) -> Batch {
    todo!()
}

// %% tags=["check"]
check::mixed_latent(mixed_latent)

// %% [markdown]
// **Predict:** $x_t$ and $x'_t$ both carry noise of variance $1-\bar\alpha_t$. What is the variance of the noise in $\bar x_t$ at $\lambda=\frac12$: the same, three quarters, or half of it?

// %% tags=["predict"]
check::predict("The noise of the mixture at λ = ½ has", &["the same variance", "three quarters of it", "half of it"], 0)

// %%
let lambdas: Vec<f64> = (0..=10).map(|i| i as f64 / 10.0).collect();
let black: Array3<f64> = Array3::<f64>::zeros((64, 64, 1)); // nothing but noise is left
let mixed: Batch = {
    let same = Interpolation { x0: black.view(), x0_prime: black.view(), t: 1000, lambdas: &lambdas };
    interpolate_latents(&garments.reverse, &same, &Noise::seed(1))
};
let measured: Vec<f64> = mixed.outer_iter().map(|x| x.mapv(|x| x * x).mean().unwrap()).collect();
let fine: Vec<f64> = (0..=100).map(|i| i as f64 / 100.0).collect();
let predicted: Vec<f64> = fine.iter().map(|l| (1.0 - l).powi(2) + l * l).collect();
assert!((measured[5] - 0.5).abs() < 0.05);
Chart::new("λ", "variance of the noise in x\u{304}_{1000}").points("measured on 4,096 pixels", &lambdas, &measured)
    .line("(1 − λ)^{2} + λ^{2}", &fine, &predicted).y_range(0.0, 1.2).figure()

// %% [markdown]
// *What to see:* half. Variances of independent noises add with the squares of their factors. The network is asked to denoise less noise than it was trained for at this $t$, takes what is missing for smoothness, and so mixtures look a little smoother than samples. (Factors $\cos$ and $\sin$ would keep the variance. The paper keeps the straight line.)
//
// Now two paintings that the network has not been trained on: Van Gogh's wheat field and Seurat's study for the Grande Jatte.

// %%
let pair: Batch = paintings(32).split(7).1.overview().batch(&[0, 1]);
let (a, b): (Array3<f64>, Array3<f64>) = (pair.index_axis(Axis(0), 0).to_owned(), pair.index_axis(Axis(0), 1).to_owned());
let depths: Vec<usize> = (0..=8).rev().map(|eighth| 10 * eighth).collect(); // of 80 steps
let mut rows: Vec<Batch> = Vec::new();
for &depth in &depths {
    let (short, reverse) = respace(&painter.unet, &painter.reverse, 80);
    let ends = Interpolation { x0: a.view(), x0_prime: b.view(), t: depth, lambdas: &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0] };
    let between = interpolate(&short, &reverse, &ends, &Noise::seed(1));
    rows.push(ndarray::concatenate![Axis(0), a.view().insert_axis(Axis(0)), between, b.view().insert_axis(Axis(0))]);
}
let images: Vec<u8> = rows.iter().flat_map(|row| to_u8(row)).collect();
grid(&images, [32, 3], 8)
    .column_labels(["source", "rec.", "λ = 0.2", "0.4", "0.6", "0.8", "rec.", "source"])
    .row_labels(depths.iter().map(|depth| format!("t = {}", depth * 1000 / 80))).figure()

// %% [markdown]
// *What to see:* the paper's Fig. 9, with fewer $\lambda$; *rec.* is $\lambda=0$ and $\lambda=1$, a source that went to depth $t$ and back alone. Bottom row, $t=0$: pixels are mixed, a double exposure. At 125 and 250 the field keeps its place, and what lies above it changes over from a bright sky to Seurat's haze. From 375 up the horizon itself moves, and from 625 the sources are as good as forgotten; as all columns share their noises, they show nearly one picture, another landscape, with a figure in it. The full run (`figures/paintings_interpolation.png`) takes 200 steps instead of 80: other noises, so another picture at the top, and the same story.
//
// ## What should a network predict, and which loss should it have? (Table 2)
//
// The paper compares six kinds of network by their samples (FID, lower is better); two of them it could not train. Six such and one more are shipped with this course: 0.4 million parameters each, same data, seed and 1,200 steps. They differ in
//
// - **what is predicted**: the noise $\epsilon$, or the posterior mean $\tilde\mu_t$ directly;
// - **the variance** $\sigma_t^2$: fixed to $\beta_t$, or learned;
// - **the loss**: the bound $L$, or a mean squared error, which for $\epsilon$ is $L_\text{simple}$.
//
// The seventh is by Nichol & Dhariwal (2021), and needs two ideas more.
//
// ### A learned variance
//
// Section 3.2 names two good fixed choices, $\beta_t$ and $\tilde\beta_t$. Let the network choose between them, per pixel: its output has twice the channels, the second half being $v$, and
//
// $$\log\sigma_t^2 = f\log\beta_t+(1-f)\log\tilde\beta_t,\qquad f=\tfrac12(v+1).$$
//
// (The poster gives a paper of 2024 for "learned variance for denoising". That one learns the *forward* noise, a schedule per pixel. The learned *reverse* variance is this one, and the row "learned diagonal $\Sigma$" of the paper's own Table 2.)
//
// ### Exercise 12.3 (pencil): log variance, and its slope for backprop

// %% tags=["exercise"]
/// log σ² of the learned range, and its derivative with respect to v.
fn log_variance_and_slope(v: f64, beta: f64, beta_tilde: f64) -> [f64; 2] {
    todo!()
}

// %% tags=["check"]
check::log_variance_and_slope(log_variance_and_slope)

// %% [markdown]
// Where does the shipped network `eps_hybrid` choose which? Its $f$ as a picture: black is $\tilde\beta_t$, white is $\beta_t$, or beyond.

// %%
let hybrid: checkpoint::Pretrained = checkpoint::ABLATION[6].load().unwrap();
let data: Batch = fashion_mnist_test().batch(&(0..16).collect::<Vec<_>>());
let mut images: Vec<u8> = to_u8(&data).into_iter().take(8 * 784).collect();
for t in [2, 5, 20, 100, 500] {
    let t = vec![t; 16];
    let x_t = q_sample(&hybrid.reverse.schedule, &data, &t, &Noise::seed(1).batch([16, 28, 28, 1], &t));
    let v = hybrid.unet.predict(&x_t, &t).slice(s![.., .., .., 1..]).to_owned();
    let f = v.mapv(|v| 0.5 * (v + 1.0));
    println!("t = {:3}: f = {:.2} on average, with a standard deviation of {:.2} over pixels", t[0], f.mean().unwrap(), f.std(0.0));
    images.extend(to_u8(&v).iter().take(8 * 784)); // v in [−1, 1] is f in [0, 1]
}
grid(&images, [28, 1], 8)
    .row_labels(["x_{0}", "t = 2", "t = 5", "t = 20", "t = 100", "t = 500"]).figure()

// %% [markdown]
// *What to see:* the background, where $x_0$ is certain, gets $\tilde\beta_t$, and the garments lean to $\beta_t$, those with a texture most. Section 3.2 says as much: $\tilde\beta_t$ is right for a single known image, $\beta_t$ for data of unit variance. No one told the network. Towards large $t$ the map fades, since the two variances come together: at $t=2$ they differ by more than a factor of two, at $t=100$ by 2 %.
//
// ### A hybrid loss
//
// $L_\text{simple}$ can't see $\sigma_t^2$, so it can't teach it. $L$ can, but its gradients are noisy. The hybrid takes the mean from one and the variance from the other,
//
// $$L_\text{hybrid} = L_\text{simple}+\lambda\,L_\text{vlb}(\mathrm{stop}(\mu_\theta),\,\sigma_t^2),\qquad\lambda=0.001,$$
//
// where $L_\text{vlb}$ is $T$ times the bound's term at a random $t$, so that its mean is the bound, and *stop* means: its gradient does not reach the mean.
//
// ### Exercise 12.4 (code): the gradient of the hybrid

// %% tags=["exercise"]
/// d L_hybrid/d output from those of L_simple and L_vlb, all [N, H, W, 2C]: first the prediction's channels, then v's.
fn hybrid_gradient(d_simple: &Batch, d_vlb: &Batch, lambda: f64) -> Batch {
    todo!()
}

// %% tags=["check"]
check::hybrid_gradient(hybrid_gradient)

// %% [markdown]
// The crate's own, on sixteen images at $t=2$, where the bound weighs most:

// %%
fn norms(d_output: &Batch) -> String {
    let norm = |half: usize| d_output.slice(s![.., .., .., half..half + 1]).mapv(|d| d * d).sum().sqrt();
    format!("{:9.4} for the mean's half, {:9.4} for the variance's", norm(0), norm(1))
}
let batch: NoisyBatch = NoisyBatch::new(&hybrid.reverse.schedule, data.clone(), vec![2; 16], Noise::seed(1).batch([16, 28, 28, 1], &[2; 16]));
let output: Batch = hybrid.unet.predict(&batch.x_t, &batch.t);
let [simple, vlb, both]: [Batch; 3] = Loss::ALL.map(|loss| loss.loss_and_grad(&hybrid.reverse, &output, &batch, Decoder::Exact).d_output);
println!("simple  {}\nvlb     {}\nhybrid  {}", norms(&simple), norms(&vlb), norms(&both));
assert_eq!(both.slice(s![.., .., .., ..1]), simple.slice(s![.., .., .., ..1]));

// %% [markdown]
// *What to see:* the hybrid's first half is that of $L_\text{simple}$, number for number, and its second a thousandth of $L_\text{vlb}$'s.
//
// ### The seven, side by side
//
// Six samples of each, 50 steps, from the same noises:

// %%
let mut images: Vec<u8> = Vec::new();
for run in &checkpoint::ABLATION {
    let model = run.load().unwrap();
    let (short, reverse) = respace(&model.unet, &model.reverse, 50);
    images.extend(to_u8(&sample(&short, &reverse, [6, 28, 28, 1], &Noise::seed(1))));
}
let names: Vec<String> = checkpoint::ABLATION.iter().map(|run| run.name.to_string()).collect();
grid(&images, [28, 1], 6).row_labels(&names).figure()

// %% [markdown]
// *What to see:* the networks that predict $\tilde\mu$ give noise. `eps_learned` knows light and dark, hardly a form. Of the last three, which all know garments, `eps_fixed` (trained on $L$) is the most ragged.
//
// Now the numbers. The bound of 32 images is computed here and now, at $t=1$ and 20 random $t$ each; the rest stands in `figures/ablation.csv`, from the full run with 500 images.

// %%
let stored_runs: Stored = stored("ablation.csv");
let data: Batch = fashion_mnist_test().batch(&(0..32).collect::<Vec<_>>());
let options: ElboOptions = ElboOptions { time_steps: TimeSteps::Stratified { count: 20, seed: 1 }, ..ElboOptions::default() };
let mut live: Vec<Estimate> = Vec::new();
for run in &checkpoint::ABLATION {
    let model = run.load().unwrap();
    live.push(elbo(&model.unet, &model.reverse, &data, &options, &Noise::seed(1)).bits_per_dim());
}
let column: [Vec<f64>; 5] = ["bits_per_dim", "rate", "distortion", "frechet", "paper_fid"].map(|name| stored_runs.column(name));
let (runs, objectives): (Vec<String>, Vec<String>) = (stored_runs.text("run"), stored_runs.text("objective"));
let head: String = "run;minimised;bits/dim, now;bits/dim, stored;rate;distortion;Fréchet distance;paper's FID".into();
(0..7).fold(Table::new(head.split(';')), |table, i| {
    let fid = if column[4][i].is_nan() { "–".to_string() } else { column[4][i].to_string() };
    let [bits, rate, distortion] = [0, 1, 2].map(|c| format!("{:.3}", column[c][i]));
    table.row([runs[i].clone(), objectives[i].clone(), format!("{:.2}", live[i]), bits, rate, distortion, format!("{:.0}", column[3][i]), fid])
})

// %% [markdown]
// *What to see:* the Fréchet distance compares 1,000 samples of 50 steps with 9,000 test images in the features of our classifier (the other 1,000 test images are at 2.9). It is not an FID. With $\epsilon$, the network trained on $L$ has the better bound than $L_\text{simple}$ and by far the worse samples, as in the paper. A learned diagonal variance makes both worse; the hybrid has the best bound, and samples between the two. What does *not* agree: our $\tilde\mu$ networks are worse than raw pixels (8 bits). A network that must first learn to copy $x_t$ has not arrived after 1,200 steps; the paper's had 800,000.
//
// ### Exercise 12.5 (guess): read the table

// %%
check::task("share_of_decoder")

// %% tags=["exercise"]
/// The share of the gain that is L_0's.
fn share_of_decoder() -> f64 {
    todo!()
}

// %% tags=["check"]
check::share_of_decoder(share_of_decoder)

// %% [markdown]
// **Run it again.** `cargo run --release -- figures --only ablation` draws the figure in seconds (with `--all` in front of `--only` it also makes the table anew, in half an hour), and `figures --only interpolation` the paintings with 200 steps. To train one of the seven, four to six minutes each:
//
// `cargo run --release -- train --widths 16,32,48 --steps 1200 --warmup 200 --cooldown 400 --ema 0.995 --loss vlb --out runs/eps_fixed`
//
// (without `--loss vlb` it is `eps_simple`; `assets/ablation/README.md` lists all).
//
// ### ★ Open
//
// Interpolate between a shoe and a shirt. At which depth does it stop being a mixture of pixels and become a garment? Define 'garment' so that a program can decide.
//
// ## You can now
//
// - follow an image through the chain, and say at which $t$ what is decided;
// - mix images in latent space, and check it by its two ends;
// - give a network a variance of its own, and read an ablation with care.
//
// **In the paper:** section 4.2 (Table 2), section 4.3 (progressive generation, Figs. 6 and 7), section 4.4 (interpolation, Figs. 8 and 9).

// %%
println!("{}", check::score());
