// %% [markdown]
// # 10 Train on garments, on a CPU
//
// **You will be able to** train a U-Net yourself and watch it; say why the loss stops falling long before the pictures stop improving; average weights; resume a run so that not one bit differs; show that samples are not copies; and find out what is wrong with a sick checkpoint.
//
// **Before:** notebook 09. **Time:** 80 minutes, of which the machine works one or two. **Figure:** the same noise turned into garments by ever better networks, with the averaged weights beside the raw ones.
//
// All parts are there: the chain (02), the sampler (03), the layers and their gradients (06, 07), the network (09). Now we let it learn.

// %%
:dep ddpm = { package = "ddpm-notebook", path = "kernel" }
use ddpm::prelude::*;
ddpm::start();

// %% [markdown]
// ## Data
//
// The crate ships 10,000 garments, the test set of Fashion-MNIST. A network of our own may learn from them: 9,000 to train on, and 1,000 held out that it never sees. To keep it short, we shrink them: four pixels become their mean, and a black border makes it 16×16, which can be halved twice more by the network.

// %%
fn halved(images: &Images) -> Images {
    let mut small = Array4::<u8>::zeros((images.len(), 16, 16, 1));
    for ((n, y, x, _), level) in small.slice_mut(s![.., 1..15, 1..15, ..]).indexed_iter_mut() {
        let block = images.pixels.slice(s![n, 2 * y..2 * y + 2, 2 * x..2 * x + 2, 0]);
        *level = (block.iter().map(|&level| f64::from(level)).sum::<f64>() / 4.0).round() as u8;
    }
    Images::new("garments, 16×16", small, images.labels.clone())
}
let all = halved(&fashion_mnist_test());
let training = all.first(9000);
let held_out = all.select(&(9000..10_000).collect::<Vec<_>>());
Grid::new(&training.first(40).pixels, 10).figure()

// %% [markdown]
// *What to see:* coarse, but each is told apart at a glance. Files hold grey levels $0\dots255$; the network sees pixels $x = k/127.5 - 1$ in $[-1, 1]$ (section 3.3 of the paper), where a mean near 0 and a spread near 1 suit both the noise and the layers. What it paints has to come back.
//
// ### Exercise 10.1 (code): from a pixel to a grey level
//
// The sampler's last step is a real number, and may lie a little outside of $[-1, 1]$. Which level should be shown?

// %% tags=["exercise"]
/// The grey level, 0 to 255, nearest to a pixel x, where −1 is black and 1 is white.
fn to_level(x: f64) -> usize {
    todo!()
}

// %% tags=["check"]
check::to_level(to_level)

// %% [markdown]
// ## The run
//
// What the paper does for CIFAR10 (appendix B), and what we do in a minute or two:
//
// | | paper | here |
// |---|---|---|
// | parameters | 35.7 million | 0.28 million |
// | images per step | 128 | 32 |
// | steps | 800,000 | 2,000 |
// | step size | 2·10⁻⁴ | 2·10⁻³ |
// | decay of the averaged weights | 0.9999 | 0.995 |
//
// A small network stands a larger step, and a short run needs a shorter memory (below we see why). The chain is the paper's: $T = 1000$, $\beta$ linear from $10^{-4}$ to $0.02$.
//
// A step of Algorithm 1 draws 32 images $x_0$, a time $t$ for each, and noise $\epsilon$; makes $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon$; and descends on
//
// $$L_\text{simple} = \mathbb E_{t,x_0,\epsilon}\big\|\epsilon - \epsilon_\theta(x_t, t)\big\|^2 \qquad (14)$$
//
// which we always give as a mean over pixels. **Predict:** the last layer begins at nothing. What is the loss of the first step?

// %% tags=["predict"]
check::predict("The loss of the first step", &["0", "about 1", "about 784"], 0)

// %%
let data = Dataset::from_images(&training); // draws an image at random, half of the time mirrored
let config = UnetConfig::paper(16, 1, &[16, 32, 32], 1, 8);
let adam = AdamOptions { lr: 2e-3, warmup: 100, ema_decay: 0.995, ..AdamOptions::default() };
let options = TrainOptions { batch: 32, seed: 1, loss: Loss::Simple, times: Times::Uniform, adam };
let mut trainer = Trainer::new(&config, Reverse::new(Schedule::linear(1000)), options);
let first = trainer.clone().step(&data).unwrap();
println!("{} parameters; first step: loss {:.4}, length of the gradient {:.2}", trainer.model.count(), first.loss, first.grad_norm);
assert!((first.loss - 1.0).abs() < 0.05);

// %% [markdown]
// A network that says 0 is wrong by $\epsilon$ itself, and $\mathbb E\,\epsilon^2 = 1$: so every run must begin at 1. Another first loss is a bug, found in a second.
//
// ## What would be a good loss?
//
// Not 0. From $x_t$ alone nobody can say exactly what is noise. For comparison take a guesser that knows of garments only the mean and variance $s^2$ of each pixel, and nothing of its neighbours. For a Gaussian pixel, $x_t$ has the variance $\bar\alpha_t s^2 + 1 - \bar\alpha_t$, and the best guess of $\epsilon$ is wrong by
//
// $$\mathbb E(\epsilon - \hat\epsilon)^2 = \frac{\bar\alpha_t s^2}{\bar\alpha_t s^2 + 1 - \bar\alpha_t}.$$

// %%
fn pixelwise(variance: &[f64], schedule: &Schedule, t: usize) -> f64 {
    let alpha_bar = schedule.alpha_bar(t);
    let wrong = |s2: &f64| alpha_bar * s2 / (alpha_bar * s2 + 1.0 - alpha_bar);
    variance.iter().map(wrong).sum::<f64>() / variance.len() as f64
}
let x0 = training.batch(&(0..9000).collect::<Vec<_>>());
let variance: Vec<f64> = x0.var_axis(Axis(0), 0.0).iter().copied().collect();
let schedule = trainer.objective.reverse.schedule.clone();
let naive = (1..=1000).map(|t| pixelwise(&variance, &schedule, t)).sum::<f64>() / 1000.0;
println!("a guesser that takes each pixel by itself: {naive:.4}");

// %% [markdown]
// Whatever lies below that has been learned from how pixels hang together.
//
// ## Train, and watch
//
// The next cell shows the loss while it falls: an image that asks for its file again every second. The one after it trains, and prints a line every five seconds: the mean of the last 20 losses, images per second, seconds left. (Don't interrupt it: that would lose all variables. It ends by itself.)

// %%
let mut plot = LossPlot::new("garments-16", 2000, 32);
plot

// %% tags=["timing"]
let milestones = [50, 200, 600, 2000];
let mut kept: Vec<Trainer> = Vec::new();
for step in 1..=2000 {
    plot.push(trainer.step(&data).unwrap().loss);
    if milestones.contains(&step) {
        kept.push(trainer.clone());
    }
}
plot.figure()

// %% [markdown]
// *What to see:* within 100 steps from 1 to 0.1, then a plateau that sinks so slowly that the noise of the single batches hides it (faint; bold is the moving average). Much of that noise is the draw of $t$: some times are far harder than others.
//
// ### Where the loss is
//
// The held-out images, at a dozen times, through the averaged weights.

// %%
fn mean(losses: &[f64]) -> f64 {
    losses.iter().sum::<f64>() / losses.len() as f64
}
let losses = plot.losses().to_vec();
let at_the_end = mean(&losses[1800..]);
println!("steps 201 to 400: {:.4}, 901 to 1100: {:.4}, 1801 to 2000: {at_the_end:.4}", mean(&losses[200..400]), mean(&losses[900..1100]));
assert!(at_the_end < 0.06 && at_the_end < 0.5 * naive);
fn loss_at(model: &Unet, images: &Images, schedule: &Schedule, t: usize) -> f64 {
    let x0 = images.batch(&(0..images.len()).collect::<Vec<_>>());
    let eps: Batch = normal(x0.dim(), &mut stream(3, t as u64));
    let times = vec![t; images.len()];
    let x_t = q_sample(schedule, &x0, &times, &eps);
    L_simple(&eps, &model.predict(&x_t, &times)).mean().unwrap()
}
let times = [1, 3, 10, 20, 40, 80, 150, 250, 400, 600, 800, 1000];
let t: Vec<f64> = times.iter().map(|&t| t as f64).collect();
let ours: Vec<f64> = times.iter().map(|&t| loss_at(&trainer.adam.ema, &held_out.first(200), &schedule, t)).collect();
let naive_at: Vec<f64> = times.iter().map(|&t| pixelwise(&variance, &schedule, t)).collect();
Chart::new("t", "squared error of ε̂, mean over pixels").scales(Scale::Log, Scale::Log)
    .line("each pixel by itself", &t, &naive_at).line("the network, held-out images", &t, &ours).figure()

// %% [markdown]
// *What to see:* what it has learned of garments pays between $t = 10$ and 500; at $t = 150$ its error is a quarter of the guesser's. At $t = 1$ the noise, $\sqrt{\beta_1} = 0.01$, is about one grey level, and hardly to be seen by anyone. Beyond $t = 600$ everything is noise and the answer nearly $\epsilon = x_t$, which the network copies only to within 3 % (a squared error of 0.001); the guesser does that better.
//
// The loss is an average over all this, and most of it comes from small $t$. The large forms of a sample are settled above $t = 250$ (notebook 12 shows it), where the errors are small already. So the loss hardly moves while the pictures improve.
//
// ## Samples through training
//
// Always from the same noise, by 50 of the 1,000 steps (notebook 13 shows why this is allowed). Adam leaves the weights trembling around where they want to be. The **averaged weights** $\bar\theta \leftarrow d\,\bar\theta + (1-d)\,\theta$, with $d = 0.995$ a memory of about 200 steps, tremble less; the paper samples with them only.
//
// **Predict:** at which of the steps 50, 200, 600 and 2000 are the averaged weights worse than the raw ones?

// %% tags=["predict"]
check::predict("The averaged weights are worse at", &["50 only", "50, 200 and 600", "none of them", "all four"], 0)

// %%
fn paint(model: &Unet, reverse: &Reverse, n: usize) -> Array4<u8> {
    let (model, reverse) = respace(model, reverse, 50);
    to_u8(&sample(&model, &reverse, [n, 16, 16, 1], &Noise::seed(7)))
}
fn stacked(rows: &[Array4<u8>]) -> Array4<u8> {
    let views: Vec<_> = rows.iter().map(|row| row.view()).collect();
    ndarray::concatenate(Axis(0), &views).unwrap()
}
fn loss_on(model: &Unet, images: &Images, schedule: &Schedule) -> f64 {
    (1..=10).map(|i| loss_at(model, images, schedule, 100 * i)).sum::<f64>() / 10.0
}
let mut rows: Vec<Array4<u8>> = Vec::new();
let mut labels: Vec<String> = Vec::new();
let few = held_out.first(200);
for Trainer { model, adam, objective, .. } in &kept {
    rows.extend([paint(model, &objective.reverse, 10), paint(&adam.ema, &objective.reverse, 10)]);
    labels.extend([format!("{}, raw", adam.steps), format!("{}, averaged", adam.steps)]);
    println!("step {:4}: raw {:.4}, averaged {:.4}", adam.steps, loss_on(model, &few, &schedule), loss_on(&adam.ema, &few, &schedule));
}
Grid::new(&stacked(&rows), 10).row_labels(labels.clone()).figure()

// %% [markdown]
// *What to see:* pale noise, then silhouettes, then garments, then folds and soles. And an average that is late: it begins at the initial weights and is not warmed up, so that after 50 steps it still holds $0.995^{50} = 78\,\%$ of them, after 200 steps 37 %, after 600 steps 5 %. Only at the end it wins, with firmer edges and fewer specks. The lines above the picture say the same in numbers: the loss on 200 held-out images, as a mean over $t = 100, 200, \dots, 1000$.
//
// ## What comes after two minutes
//
// The network that the crate ships is nine times larger, sees 28×28 pixels and was trained for 100 minutes. Its log is shipped with it. Here are its first 500 steps.

// %%
use figures::{LossCurve, loss_curves};
let log = train::shipped_log(&checkpoint::GARMENTS).unwrap();
let steps: Vec<f64> = log.iter().map(|row| row.step as f64).collect();
let logged: Vec<f64> = log.iter().map(|row| row.loss).collect();
let begin = LossCurve { name: "the shipped network".into(), steps: steps[..10].to_vec(), losses: logged[..10].to_vec() };
loss_curves(&[begin.clone()], 0)

// %% [markdown]
// ### Exercise 10.2 (guess): predict the plateau
//
// Don't look at the figure below the check before you have an answer.

// %%
check::task("plateau")

// %% tags=["exercise"]
/// Your guess of the shipped network's L_simple after the steps of the question.
fn plateau() -> f64 {
    todo!()
}

// %% tags=["check"]
check::plateau(plateau)

// %%
let whole = LossCurve { name: "the shipped network".into(), steps: steps.clone(), losses: logged.clone() };
loss_curves(&[whole.clone()], 0)

// %% [markdown]
// *What to see:* the curve looks level for thousands of steps and still sinks, from 0.051 to 0.039. In the last 2,000 the step size falls to 0, and with the trembling of the weights a little more of the loss goes, to 0.036.
//
// ## Stop, and go on
//
// A run of hours gets interrupted. A checkpoint must hold all that the next step depends on: the weights; Adam's two moments; the averaged weights; the number of the step, since step $k$ draws its images, times and noises from the streams that belong to $k$. With one of them missing the run goes on all the same, on another path, and no one notices.

// %%
let file = std::env::temp_dir().join(format!("ddpm-notebook-10-{}", std::process::id()));
trainer.save(&file).unwrap();
println!("{:.1} MB for {} numbers, four times", std::fs::metadata(&file).unwrap().len() as f64 / 1e6, trainer.model.count());
let mut resumed = Trainer::load(&file).unwrap();
std::fs::remove_file(&file).unwrap();
let mut straight = trainer.clone();
for _ in 0..5 {
    let (a, b) = (straight.step(&data).unwrap(), resumed.step(&data).unwrap());
    println!("step {}: loss {:.6} and {:.6}", a.step, a.loss, b.loss);
}
assert!(straight.model.slices() == resumed.model.slices());

// %% [markdown]
// Not close: the same bits, in each of the 280,177 weights.
//
// ### Exercise 10.3 (code): take up a run
//
// `steps` is how many steps the run shall have taken in all. The check interrupts a small run, lets you go on, and compares every weight with a run that was not interrupted.

// %% tags=["exercise"]
/// The run of the checkpoint `file`, after it has been trained until it has taken `steps` steps in all.
fn go_on(file: &str, data: &Dataset, steps: u64) -> Trainer {
    todo!()
}

// %% tags=["check"]
check::go_on(go_on)

// %% [markdown]
// ## Are they copies?
//
// A network that stored its training set would have a splendid loss. So we search, for each sample, the training image nearest to it (the paper's Figs. 12 and 15 do the same). Training shows mirror images too, so they have to be searched as well.
//
// ### Exercise 10.4 (code): the nearest garment

// %% tags=["exercise"]
/// Index of the training image [N, H, W] that is nearest to the sample [H, W], as it is or mirrored left to right, and the Euclidean distance.
fn nearest_garment(sample: &Array2<f64>, training: &Array3<f64>) -> (usize, f64) {
    todo!()
}

// %% tags=["check"]
check::nearest_garment(nearest_garment)

// %% [markdown]
// The crate's `nearest(queries, candidates, k)` compares rows of numbers, on all threads. Ten samples, and below each the training image nearest to it:

// %%
fn rows_of(images: &Array4<u8>) -> Array2<f32> {
    to_unit(images).mapv(|x| x as f32).into_shape_with_order((images.len() / 256, 256)).unwrap()
}
let candidates = ndarray::concatenate![Axis(0), training.pixels, data::flip_horizontal(&training.pixels)];
let samples = paint(&trainer.adam.ema, &trainer.objective.reverse, 10);
let indices: Vec<usize> = nearest(&rows_of(&samples), &rows_of(&candidates), 1).iter().map(|near| near[0].index).collect();
let pairs = ndarray::concatenate![Axis(0), samples, candidates.select(Axis(0), &indices)];
fn mean_distance(queries: &Array4<u8>, candidates: &Array4<u8>) -> f64 {
    let found = nearest(&rows_of(queries), &rows_of(candidates), 1);
    found.iter().map(|near| near[0].distance).sum::<f64>() / found.len() as f64
}
let (of_samples, of_held_out) = (mean_distance(&samples, &candidates), mean_distance(&held_out.first(200).pixels, &candidates));
println!("to the nearest training image: samples {of_samples:.2}, held-out garments {of_held_out:.2}");
assert!(of_samples > 0.7 * of_held_out);
let (seen, unseen) = (loss_on(&trainer.adam.ema, &training.first(1000), &schedule), loss_on(&trainer.adam.ema, &held_out, &schedule));
println!("loss on 1,000 training images {seen:.4}, on 1,000 held-out ones {unseen:.4}");
assert!((seen / unseen - 1.0).abs() < 0.1);
Grid::new(&pairs, 10).row_labels(["sample", "nearest"]).figure()

// %% [markdown]
// *What to see:* the same kind of garment, in another cut. But how near is "near"? Held-out garments, which can't be copies, are the yardstick (the lines above the picture). A copy would have the distance 0; our samples are as far from the training set as new garments are, and a little farther, since none is perfect. The loss says the same: after seven passes over the training set it is only 3 % lower there than on images it has never seen.
//
// ## The doctor
//
// Training rarely fails with a message. It runs to its end, and the pictures are bad: a published bug can live for years. `doctor` measures what should be so in every healthy run.

// %%
assert!(doctor(&trainer).is_healthy());
doctor(&trainer)

// %% [markdown]
// Now five copies of our run, each with one thing done wrong that people have published. Ten samples of each:

// %%
let patients: Vec<Trainer> = (1..=5).map(|n| sick(n, &trainer)).collect();
let painted: Vec<Array4<u8>> = patients.iter().map(|run| paint(&run.adam.ema, &run.objective.reverse, 10)).collect();
Grid::new(&stacked(&painted), 10).row_labels((1..=5).map(|n| format!("patient {n}"))).figure()

// %% [markdown]
// *What to see:* two paint noise, two patchwork, one nothing at all. A picture shows that something is wrong, and not what.
//
// ### Exercise 10.5 (guess): diagnosis
//
// Examine them: `doctor(&patients[0])` is patient 1. One cause may bring several ✗.

// %%
check::task("cause")

// %% tags=["exercise"]
/// The letter of what was done wrong to patient 1, 2, 3, 4 or 5.
fn cause(patient: usize) -> char {
    todo!()
}

// %% tags=["check"]
check::cause(cause)

// %% [markdown]
// ### ★ Open
//
// Train the same network on digits, or on pictures of your own (`load_folder`). Which numbers of this notebook stay, which change, and why?
//
// ## You can now
//
// - start a run, and know from its first loss, its plateau and its samples whether it is well;
// - say what the averaged weights are for, and when they do harm;
// - stop and resume to the bit, search for copies, and examine a checkpoint without data.
//
// **In the paper:** section 3.4 (Algorithm 1, Eq. 14), appendix B (sizes, step size, averaging), Figs. 12 and 15 (nearest neighbours).

// %%
println!("{}", check::score());
