// %% [markdown]
// # 09 A small U-Net
//
// **You will be able to** say what each part of the paper's network is for, predict its shapes and its parameters, and find out whether a network hears the time, keeps its details, and learns at all.
//
// **Before:** notebooks 07 and 08. **Time:** 75 minutes. **Figure:** the U, with the size of every feature map, and the norm of the gradient that reaches each block.
//
// The network $\epsilon_\theta(x_t, t)$ gets a noisy image and says, for every pixel, which part of it is noise. That needs two things at once: the whole image (is this a boot or a bag?) and the exact place of each pixel. A **U-Net** has both: it shrinks the image until a pixel sees everything, enlarges it again, and carries the fine grids across.

// %%
:dep ddpm = { package = "ddpm-notebook", path = "kernel" }
use ddpm::prelude::*;
ddpm::start();

// %% [markdown]
// ## One walk down, one walk up
//
// The paper's network for CIFAR10 has four resolutions and 35.7 million parameters. Ours has three levels of 16, 32 and 32 channels, one residual block per level on the way down and two on the way up, attention at the middle level and at the bottom.
//
// Here is its whole forward pass. What the way down computes is *pushed* on a stack; each block of the way up *pops* one entry and takes it, joined on the channels, as a second input: the **skip connections**. `walk` also notes the output of each block, and replaces the skips of the levels in `cut` by zeros, for an experiment below.

// %%
fn join(h: &Tensor4, skip: &Tensor4) -> Tensor4 {
    ndarray::concatenate![Axis(3), h.view(), skip.view()].as_standard_layout().into_owned()
}
/// A residual block, and attention where there is one.
fn layer(resnet: &nn::ResnetBlock, attention: Option<&nn::Attention>, h: &Tensor4, time: &Tensor2) -> Tensor4 {
    let h = resnet.infer(h, time);
    attention.map_or_else(|| h.clone(), |attention| attention.infer(&h))
}
/// The way down: what comes out of each level, and what the way up will be handed; levels in `cut` hand on nothing.
fn way_down(unet: &Unet, x: &Tensor4, time: &Tensor2, cut: &[usize]) -> (Vec<(String, Tensor4)>, Vec<Tensor4>) {
    let kept = |h: &Tensor4, level| if cut.contains(&level) { h * 0.0 } else { h.clone() };
    let mut h = unet.conv_in.infer(x);
    let mut out = vec![("conv_in".to_string(), h.clone())];
    let mut skips = vec![kept(&h, 0)];
    for (level, block) in unet.down_blocks.iter().enumerate() {
        for (i, resnet) in block.resnets.iter().enumerate() {
            h = layer(resnet, block.attentions.get(i), &h, time);
            skips.push(kept(&h, level));
        }
        out.push((format!("down {level}"), h.clone()));
        if let Some(down) = block.downsamplers.first() { h = down.conv.infer(&h); skips.push(kept(&h, level + 1)); }
    }
    (out, skips)
}

// %%
fn walk(unet: &Unet, x: &Tensor4, t: &[usize], cut: &[usize]) -> Vec<(String, Tensor4)> {
    let width = unet.config.block_out_channels[0];
    let mut time = unet.time_embedding.infer(&nn::sinusoidal_embedding(t, width, false, 1.0));
    nn::activation::silu(time.as_slice_mut().unwrap());
    let (mut out, mut skips) = way_down(unet, x, &time, cut);
    let mid = &unet.mid_block;
    let mut h = layer(&mid.resnets[0], mid.attentions.first(), &out[out.len() - 1].1, &time);
    h = mid.resnets[1].infer(&h, &time);
    out.push(("mid".to_string(), h.clone()));
    for (block, level) in unet.up_blocks.iter().zip((0..unet.down_blocks.len()).rev()) {
        for (i, resnet) in block.resnets.iter().enumerate() {
            h = layer(resnet, block.attentions.get(i), &join(&h, &skips.pop().unwrap()), &time);
        }
        out.push((format!("up {level}"), h.clone()));
        if let Some(up) = block.upsamplers.first() { h = up.infer(&h); }
    }
    out.push(("conv_out".to_string(), unet.conv_out.infer(&unet.conv_norm_out.infer_silu(&h))));
    out
}

// %%
let config = UnetConfig::paper(28, 1, &[16, 32, 32], 1, 8); // size, colours, widths, blocks per level, norm groups
let unet = Unet::new(&config, &mut stream(9, 0));
println!("{} parameters in {} tensors; {:.0} million multiplications and additions per image", unet.count(), unet.named().len(), unet.flops(28, 28) as f64 / 1e6);
fn shape(h: &Tensor4) -> String { format!("{}×{}×{}", h.dim().1, h.dim().2, h.dim().3) }
let x: Tensor4 = normal((1, 28, 28, 1), &mut stream(9, 1));
let blocks = walk(&unet, &x, &[500], &[]);
assert_eq!(blocks.last().unwrap().1, unet.infer(&x, &[500])); // to the last bit
blocks.iter().fold(Table::new(["block", "height × width × channels", "numbers"]), |table, (name, h)| {
    table.row([name.clone(), shape(h), h.len().to_string()])
})

// %% [markdown]
// *What to see:* each level has half the height and width of the one above. The joined inputs are not in the table.
//
// **Predict:** the first block of *up 2* gets $h$ from *mid* and one skip. How many channels does it see? And the last block of *up 0*? Most shape errors of home-made U-Nets are here: where two levels meet, $h$ and the skip differ in width, and the outputs of `conv_in` and of the downsamplings are skips as well.

// %% tags=["predict"]
check::predict("How many channels does the first block of up 2 see?", &["32", "64", "96"], 0)

// %% [markdown]
// ### Exercise 9.1 (code): the channels on the way up
//
// For widths like `[16, 32, 32]` (fine to coarse), with `layers` residual blocks per level on the way down and `layers + 1` on the way up.

// %% tags=["exercise"]
/// The input channels of each residual block of the way up, in the order in which they run.
fn up_inputs(widths: &[usize], layers: usize) -> Vec<usize> {
    todo!()
}

// %% tags=["check"]
check::up_inputs(up_inputs)

// %% [markdown]
// (In our network it is 32 + 32 = 64 and 16 + 16 = 32.)
//
// ## The residual block
//
// Everything between the resamplings is made of one part:
//
// $$h_1=\mathrm{Conv}_1\big(\mathrm{silu}(\mathrm{GN}_1(x))\big)+W_t\,\mathrm{silu}(e_t)+b_t,\qquad y = \mathrm{shortcut}(x)+\mathrm{Conv}_2\big(\mathrm{silu}(\mathrm{GN}_2(h_1))\big),$$
//
// where GN is group normalisation, $e_t$ the embedding of the time (sinusoids and two linear layers, notebook 08), and the shortcut is $x$ itself or, where the channels change, a 1×1 convolution. A block that computes nothing useful yet passes $x$ on unharmed: that is the point of adding.

// %%
layers(&unet.up_blocks[0].resnets[0])

// %% [markdown]
// *What to see:* the names are those of published checkpoints (`diffusers`), so that their weights can be loaded. `conv1` and `conv2` hold most of the numbers.
//
// ### Exercise 9.2 (code): count a residual block

// %% tags=["exercise"]
/// How many numbers a residual block learns; `time` is the length of the time embedding.
fn resnet_parameters(inputs: usize, outputs: usize, time: usize) -> usize {
    todo!()
}

// %% tags=["check"]
check::resnet_parameters(resnet_parameters)

// %% [markdown]
// ## What the skips carry
//
// Now the shipped network, trained on Fashion-MNIST: the same three levels with 32, 64 and 128 channels. It is shown a garment with noise of $t=250$, and from its $\hat\epsilon$ we read its guess of the image (Eq. 15),
//
// $$\hat x_0=\frac{x_t-\sqrt{1-\bar\alpha_t}\;\epsilon_\theta(x_t,t)}{\sqrt{\bar\alpha_t}} .$$
//
// Then we cut the skips, level by level.
//
// **Predict:** whose loss hurts most, those of the fine level (28×28), the middle one (14×14) or the coarse one (7×7)?

// %% tags=["predict"]
check::predict("The loss of which level hurts most?", &["28×28", "14×14", "7×7"], 0)

// %%
let shipped = checkpoint::GARMENTS.load().unwrap();
let (trained, reverse) = (shipped.unet, shipped.reverse);
let x0 = fashion_mnist_test().batch(&[0, 1, 2, 3, 5, 23]);
let eps: Batch = normal(x0.dim(), &mut stream(9, 2));
let t: Vec<usize> = vec![250; 6];
let x_t = q_sample(&reverse.schedule, &x0, &t, &eps);
let mut rows = vec![x0.clone(), x_t.clone()];
let mut errors: Vec<f64> = Vec::new();
for cut in [&[][..], &[0], &[1], &[2], &[0, 1, 2]] {
    let eps_hat = walk(&trained, &x_t.mapv(|v| v as f32), &t, cut).pop().unwrap().1.mapv(f64::from);
    errors.push((&eps_hat - &eps).mapv(|d| d * d).mean().unwrap());
    rows.push(reverse.read(eps_hat, &x_t, &t).x0_hat);
}
println!("mean (ε − ε̂)²: all skips {:.3}, without 28×28 {:.3}, 14×14 {:.3}, 7×7 {:.3}, none {:.3}", errors[0], errors[1], errors[2], errors[3], errors[4]);
assert!(errors[1] > 0.5 && errors[2] > 1.2 * errors[0] && errors[3] < 1.5 * errors[0]);
let all = Batch::from_shape_fn((42, 28, 28, 1), |(n, i, j, c)| rows[n / 6][[n % 6, i, j, c]]);
Grid::new(&to_u8(&all), 6).row_labels(["x_{0}", "x_{t}, t = 250", "all skips", "no 28×28", "no 14×14", "no 7×7", "no skips"]).figure()

// %% [markdown]
// *What to see:* without the fine skips the network is worse than silence: an $\hat\epsilon$ of 0 would have an error of 1, this one has 1.12. Noise differs from pixel to pixel, and little that has passed through 14×14 still knows single pixels of 28×28. Without the middle skips the garments are there, in blotches. The coarse ones are hardly missed: at 7×7 what they carry comes along in $h$ anyway. (A network *trained* without skips would do better than this one; cutting shows what *this* one relies on.)
//
// What do the feature maps look like?

// %%
let maps = walk(&trained, &x_t.slice(s![1..2, .., .., ..]).mapv(|v| v as f32), &[250], &[]);
let mut pictures = ndarray::Array4::<u8>::zeros((0, 28, 28, 1));
for name in ["conv_in", "down 0", "down 1", "down 2", "mid", "up 2", "up 1", "up 0"] {
    let (_, h) = maps.iter().find(|(key, _)| key == name).unwrap();
    for channel in 0..8 {
        let map = h.slice(s![0, .., .., channel * h.dim().3 / 8]);
        let (low, high) = map.iter().fold((f32::MAX, f32::MIN), |(l, m), &v| (l.min(v), m.max(v)));
        let step = 28 / map.nrows();
        let picture = ndarray::Array3::from_shape_fn((28, 28, 1), |(i, j, _)| (255.0 * (map[[i / step, j / step]] - low) / (high - low)) as u8);
        pictures.push(Axis(0), picture.view()).unwrap();
    }
}
Grid::new(&pictures, 8).scale(2).row_labels(["conv_in", "down 0", "down 1", "down 2", "mid", "up 2", "up 1", "up 0"]).figure()

// %% [markdown]
// *What to see:* eight feature maps of each block, for the second garment (each stretched from black to white). On the left of the U the maps are still the image with its noise; at the bottom, 7×7, a pixel stands for a whole region; on the way up the grid becomes fine again, and the maps show outlines and noise separately.
//
// ## Backward through the U
//
// Notebook 07 gave the rule: whatever fed two places gets two gradients, and they add. In a U-Net nearly everything feeds two places. Backward therefore walks the U from the other end: what forward popped, backward pushes; what was joined is split; where a skip left, its gradient is added.
//
// ### Exercise 9.3 (code): a U small enough for paper
//
// Rows $x$, matrices $A, B, C$. Down: $h = xA$, which is also the skip. Bottom, a residual block: $m = h + hB$. Up, with the skip joined on the right: $y = [m, h]\,C$.

// %% tags=["exercise"]
/// dx from dy. Shapes: a [D, K], b [K, K], c [2K, E], dy [N, E].
fn tiny_u_backward(a: &Array2<f64>, b: &Array2<f64>, c: &Array2<f64>, dy: &Array2<f64>) -> Array2<f64> {
    todo!()
}

// %% tags=["check"]
check::tiny_u_backward(tiny_u_backward)

// %% [markdown]
// The real one is some 50 lines in the crate (`Unet::backward`), all of this kind. Is it right? The gradient check of notebook 06 works for a whole network as well, here on 8×8 images, with noise added to all weights (`shaken`) so that no layer is asleep. $\langle\epsilon_\theta(x_t,t), g\rangle$ is differentiated for the input, and for all parameters at once.

// %%
use ddpm::nn::gradient_check::{error, inner, shaken};
let toy = shaken(Unet::new(&UnetConfig::paper(8, 1, &[4, 8], 1, 2), &mut stream(9, 3)), 0.1);
let (x, g): (Tensor4, Tensor4) = (normal((2, 8, 8, 1), &mut stream(9, 4)), normal((2, 8, 8, 1), &mut stream(9, 5)));
let mut grad = toy.zeros_like();
let dx = toy.backward(toy.forward(x.clone(), &[10, 700], &mut []).1, &g, &mut grad);
fn with(model: &Unet, numbers: &Tensor1) -> Unet {
    let (mut model, mut rest) = (model.clone(), numbers.as_slice().unwrap());
    for slice in model.slices_mut() {
        slice.copy_from_slice(&rest[..slice.len()]);
        rest = &rest[slice.len()..];
    }
    model
}
let [weights, d_weights] = [&toy, &grad].map(|model| Tensor1::from(model.slices().concat()));
let at_x = error(&x, &dx, |x| inner(&toy.infer(x, &[10, 700]), &g));
let at_weights = error(&weights, &d_weights, |w| inner(&with(&toy, w).infer(&x, &[10, 700]), &g));
println!("gradient of the input off by {at_x:.0e}, of the {} parameters by {at_weights:.0e}", weights.len());
assert!(at_x < 5e-4 && at_weights < 5e-4);

// %% [markdown]
// ## Does it hear the time?
//
// One network serves all $t$; without $t$ it would have to guess how much noise there is. We lie to the trained network: $x_t$ is that of $t=250$ each time, but it is told another $t$. To see what *it* does, and not what the formula for $\hat x_0$ does, we always use the coefficients of $t=250$.

// %%
let told: [usize; 7] = [1, 100, 200, 250, 300, 500, 1000];
let three = x_t.slice(s![..3, .., .., ..]).to_owned();
let mut rows = Vec::new();
for t in told {
    let eps_hat = trained.predict(&three, &[t; 3]);
    rows.push(reverse.read(eps_hat, &three, &[250; 3]).x0_hat);
}
let columns = Batch::from_shape_fn((21, 28, 28, 1), |(n, i, j, c)| rows[n % 7][[n / 7, i, j, c]]);
Grid::new(&to_u8(&columns), 7).column_labels(told.map(|t| format!("t = {t}"))).figure()

// %%
let times: Vec<usize> = (0..=50).map(|k| (20 * k).max(1)).collect();
let axis: Vec<f64> = times.iter().map(|&t| t as f64).collect();
fn loudness(unet: &Unet, x_t: &Batch, t: usize) -> f64 {
    unet.predict(x_t, &[t; 6]).mapv(|e| e * e).mean().unwrap().sqrt()
}
[40, 240, 700].iter().fold(Chart::new("the time it is told", "root mean square of ε̂"), |chart, &truth| {
    let x_t = q_sample(&reverse.schedule, &x0, &[truth; 6], &eps);
    let all: Vec<f64> = times.iter().map(|&t| loudness(&trained, &x_t, t)).collect();
    chart.line(format!("x_{{t}} of t = {truth}"), &axis, &all).marks(&[truth as f64], &[all[truth / 20]])
}).reference("", &[0.0, 1000.0], &[1.0, 1.0]).figure()

// %% [markdown]
// *What to see:* in the pictures, only near the true $t=250$ does the garment come out clean. In the chart, the dots stand at the truth; there $\hat\epsilon$ is nearly as strong as $\epsilon$, whose root mean square is 1. (A little less: a best guess is cautious.) Told a later time, the network takes the same speckles for a small part of strong noise and says less; told an earlier one, it says too much. (At $t=700$ hardly anything but noise is left to be mistaken.) The time is its unit of measure.
//
// A network that ignores $t$ would give flat lines, and trains without complaint, only worse. It is bug B14 of our museum: the embedding is computed, passed along, and never added. A test costs one line: the output must change with $t$.
//
// ### Exercise 9.4 (code): let the block hear the time

// %% tags=["exercise"]
/// h [N, H, W, C] plus time [N, C]: one number per image and channel, for every pixel.
fn add_time(h: &Batch, time: &Array2<f64>) -> Batch {
    todo!()
}

// %% tags=["check"]
check::add_time(add_time)

// %% [markdown]
// ## The first step of training
//
// The authors' code starts the last layer of every residual branch, and the network's last layer, at (almost) zero. So a fresh network says $\hat\epsilon = 0$ to everything, and its first $L_\text{simple}$ is $\mathbb E\,\epsilon^2=1$: the mean over pixels, as in all our code. A first loss of 5 or of 0.3 is a bug, found before any training.
//
// **Predict:** in that first step, which blocks get a gradient that is not (almost) zero?

// %% tags=["predict"]
check::predict("Which blocks get a gradient in the first step?", &["all", "only conv_out, the last", "only the first"], 0)

// %%
let garments = fashion_mnist_test();
let small = data::Images::new("small garments", garments.pixels.slice(s![.., ..;2, ..;2, ..]).to_owned(), None);
let data = data::Dataset::from_images(&small);
let paper = Reverse::new(Schedule::linear(1000));
fn batch(data: &data::Dataset, schedule: &Schedule, step: u64) -> Vec<train::Group> {
    let rngs = |group: u64| (0..8).map(|i| stream(9, 1000 + 32 * step + 8 * group + i)).collect();
    (0..4).map(|group| train::Group::draw(data, schedule, &TimeDistribution::Uniform(1000), rngs(group))).collect()
}
fn norm_of(grad: &Unet, block: &str) -> f64 {
    let own = grad.named().into_iter().filter(|(key, _)| key.starts_with(block));
    own.map(|(_, g)| g.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>()).sum::<f64>().sqrt()
}
const BLOCKS: [&str; 5] = ["conv_in", "down", "mid", "up", "conv_out"];
fn norms(grad: &Unet) -> [f64; 5] { BLOCKS.map(|block| norm_of(grad, block)) }
let mut learner = Unet::new(&UnetConfig::paper(14, 1, &[16, 32], 1, 8), &mut stream(9, 6));
let (loss, grad) = train::loss_and_gradient(&learner, &paper, Loss::Simple, &mut batch(&data, &paper.schedule, 0));
println!("first loss {loss:.3}");
for (block, norm) in BLOCKS.iter().zip(norms(&grad)) { println!("{block:<9} |gradient| = {norm:.0e}"); };
assert!((loss - 1.0).abs() < 0.05);

// %% [markdown]
// Only `conv_out`, since everything else reaches the loss through its zeros. Is the network stuck, then? No: after one step `conv_out` is no longer zero, and along the residual sums the gradient reaches all blocks at once. We train for 150 steps on garments of 14×14 pixels (every second row and column) and record the norms.

// %%
let options = AdamOptions { lr: 1e-3, warmup: 0, ..AdamOptions::default() };
let start = learner.clone();
let mut adam = Adam::new(&learner, options);
let (mut losses, mut history): (Vec<f64>, Vec<[f64; 5]>) = (Vec::new(), Vec::new());
for step in 0..150 {
    let (loss, grad) = train::loss_and_gradient(&learner, &paper, Loss::Simple, &mut batch(&data, &paper.schedule, step));
    adam.step(&mut learner, &grad);
    losses.push(loss);
    history.push(norms(&grad));
}
let late = losses[120..].iter().sum::<f64>() / 30.0;
println!("loss: {:.3}, {:.3}, … mean of the last 30 steps {late:.3}", losses[0], losses[1]);
let moved = start.named().iter().zip(learner.named()).filter(|((_, before), (_, after))| before != after).count();
println!("{} parameters, {} first and {} second moments; {moved} of {} tensors have moved", learner.count(), adam.m.count(), adam.v.count(), start.named().len());
assert!(late < 0.3 && adam.m.count() == learner.count() && moved == start.named().len());
let step: Vec<f64> = (1..=150).map(f64::from).collect();
BLOCKS.iter().enumerate().fold(Chart::new("step", "norm of the gradient").scales(Scale::Log, Scale::Log), |chart, (k, block)| {
    chart.line(*block, &step, &history.iter().map(|norms| norms[k]).collect::<Vec<_>>())
}).figure()

// %% [markdown]
// *What to see:* $10^{-5}$ for all but one at step 1; from step 2 on every block is awake. While the loss falls, `conv_out` calms down, and after some 40 steps all blocks have gradients of the same order: nothing vanishes, nothing explodes.
//
// The cell also looks at the other half of bug B14, an optimizer that was given only some of the parameters, or none: Adam has as many moments as the network has parameters, and every tensor has moved.
//
// And now the U as a picture: feature maps, and the norm of the gradient that reaches each block after those 150 steps (darker is larger).

// %%
let (_, grad) = train::loss_and_gradient(&learner, &paper, Loss::Simple, &mut batch(&data, &paper.schedule, 150));
let maps = walk(&learner, &Tensor4::zeros((1, 14, 14, 1)), &[500], &[]);
fn picture(parts: &[(&str, &str, (f64, f64))], grad: &Unet, maps: &[(String, Tensor4)]) -> Diagram {
    let diagram = parts.iter().fold(Diagram::new(), |diagram, (name, prefix, at)| {
        let norm = norm_of(grad, prefix);
        let (_, h) = maps.iter().find(|(key, _)| key == name).unwrap();
        diagram.node(format!("{name}\n{}\n|g| = {norm:.3}", shape(h)), *at, (norm.log10() + 2.5) / 2.5)
    });
    (1..parts.len()).fold(diagram, |diagram, i| diagram.arrow(i - 1, i)).dashed(1, 5).dashed(2, 4)
}
picture(&[
    ("conv_in", "conv_in", (0.0, 0.0)), ("down 0", "down_blocks.0", (1.0, 0.0)), ("down 1", "down_blocks.1", (1.5, 1.0)), ("mid", "mid_block", (2.5, 2.0)),
    ("up 1", "up_blocks.0", (3.5, 1.0)), ("up 0", "up_blocks.1", (4.0, 0.0)), ("conv_out", "conv_out", (5.0, 0.0)),
], &grad, &maps).figure()

// %% [markdown]
// *What to see:* solid arrows are the U, dashed ones the skips. The bottom of the U is not starved: the skips give the gradient a short way to every level, and the residual sums a straight one through each.
//
// ### Exercise 9.5 (guess): the first loss, for any target
//
// A network may also be asked for $x_0$, or for $v=\sqrt{\bar\alpha_t}\,\epsilon-\sqrt{1-\bar\alpha_t}\,x_0$ (Salimans and Ho, 2022). With a zero output, what is its first loss? Let $m=\mathbb E\,x_0^2$ be the mean square of a pixel; $\epsilon$ and $x_0$ are independent.

// %% tags=["exercise"]
/// The expected first loss per pixel for the targets ε, x_0 and v.
fn first_loss(alpha_bar: f64, m: f64) -> [f64; 3] {
    todo!()
}

// %% tags=["check"]
check::first_loss(first_loss)

// %% [markdown]
// ### ★ Open
//
// Leave one thing out of the U-Net (skips, attention, the time) and predict the loss after 300 steps on garments before you measure it.
//
// ## You can now
//
// - draw the U, with every shape, and count what it learns;
// - say what skips, residual sums and the time embedding are for, and show it by cutting or lying;
// - test a fresh network in a minute: first loss 1, output changes with $t$, every tensor moves, gradient check on a small copy.
//
// **In the paper:** section 4 (one network for all $t$), appendix B (the architecture, its sizes and its 35.7 million parameters), section 4.3 with Eq. 15 ($\hat x_0$, and how images emerge from it).

// %%
println!("{}", check::score());
