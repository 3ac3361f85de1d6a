// %% [markdown]
// # 02 The forward process and its schedules
//
// **You will be able to** destroy an image in a thousand small steps or in one jump, say why both give the same, choose how fast to destroy, and measure whether enough has been destroyed.
//
// **Before:** notebook 01. **Time:** 80 minutes. **Figure:** garments that sink into noise, and the curves that say how fast.
//
// A diffusion model learns to turn noise into images by undoing damage. So first somebody has to do the damage. This half of the model, the **forward process** $q$, is fixed: nothing in it is learned. (It is also the older half: Sohl-Dickstein and others built the whole frame in 2015. What the paper of 2020 adds is how to train the other half so that the samples are good.)

// %%
:dep ddpm = { package = "ddpm-notebook", path = "kernel" }
use ddpm::prelude::*;
ddpm::start();

// %% [markdown]
// ## What damage looks like
//
// $x_0$ is an image with pixels in $[-1, 1]$. Then come $x_1, x_2, \dots, x_T$, each a little noisier than the one before, with $T = 1000$ in the paper.

// %%
fn strip(schedule: &Schedule, images: &[usize], times: &[usize]) -> Array4<u8> {
    let index: Vec<usize> = images.iter().flat_map(|&image| vec![image; times.len()]).collect();
    let t: Vec<usize> = images.iter().flat_map(|_| times.to_vec()).collect();
    let x0 = fashion_mnist_test().batch(&index);
    let eps: Batch = normal(x0.dim(), &mut stream(2, 0));
    to_u8(&q_sample(schedule, &x0, &t, &eps))
}
let linear = Schedule::linear(1000);
let times = vec![0, 10, 50, 100, 200, 300, 500, 1000];
Grid::new(&strip(&linear, &[0, 1, 2, 18], &times), times.len())
    .scale(3)
    .column_labels(times.iter().map(|t| format!("t = {t}")))
    .figure()

// %% [markdown]
// *What to see:* the letters on the pullover are hard to read at $t = 200$ and lost soon after, while its outline is there at $t = 300$; at $t = 500$ hardly anything is left, at $t = 1000$ nothing. Details go first, outlines last. The reverse process will have to come back in the opposite order: outlines first.
//
// ## One small step
//
// Equation 2 of the paper says how $x_t$ is made from $x_{t-1}$:
//
// $$q(x_t \mid x_{t-1}) = \mathcal N\big(x_t;\ \sqrt{1-\beta_t}\,x_{t-1},\ \beta_t I\big).$$
//
// $\beta_t$ is a small number, the variance that step $t$ adds; $I$ says that each pixel gets noise of its own. To draw from it, scale and shift as in notebook 01, with a fresh $\epsilon_t\sim\mathcal N(0,1)$:
//
// $$x_t = \sqrt{1-\beta_t}\;x_{t-1} + \sqrt{\beta_t}\;\epsilon_t .$$
//
// Why is $x_{t-1}$ made smaller? If the variance of $x_{t-1}$ is 1, that of $x_t$ is $(1-\beta_t)\cdot 1 + \beta_t = 1$ again. The network that will look at $x_t$ sees numbers of one size at every $t$.
//
// ### Exercise 2.1 (code): walk

// %% tags=["exercise"]
/// Where one pixel is after all steps of Eq. 2: step i uses betas[i] and the noise eps[i].
fn walk(x0: f64, betas: &[f64], eps: &[f64]) -> f64 {
    todo!()
}

// %% tags=["check"]
check::walk(walk)

// %% [markdown]
// The check has a memory: if you make a mistake that was once published, in a course or a library, it calls it by its number in our *bug museum*. Two of the five mistakes that it knows here are from there.
//
// ## Ten thousand walkers
//
// Let 10,000 copies of one bright pixel, $x_0 = 0.8$, walk the paper's chain of a thousand steps, each with noise of its own. The crate's `q_step` is Eq. 2. We note mean and variance at every step, and the paths of the first six.

// %%
fn crowd(schedule: &Schedule, x0: f64, walkers: usize, steps: usize) -> Array2<f64> {
    let mut paths = Array2::from_elem((steps + 1, walkers), x0);
    let mut x: Batch = Batch::from_elem((walkers, 1, 1, 1), x0);
    for t in 1..=steps {
        let eps: Batch = normal(x.dim(), &mut stream(3, t as u64));
        x = q_step(schedule, &x, &vec![t; walkers], &eps);
        paths.row_mut(t).assign(&x.slice(s![.., 0, 0, 0]));
    }
    paths
}
let paths = crowd(&linear, 0.8, 10_000, 1000);
let mean: Vec<f64> = paths.mean_axis(Axis(1)).unwrap().to_vec();
let variance: Vec<f64> = paths.var_axis(Axis(1), 1.0).to_vec();
for t in [0, 100, 300, 1000] { println!("t = {t:4}: mean {:.3}, variance {:.3}", mean[t], variance[t]); };

// %%
let t: Vec<f64> = (0..=1000).map(f64::from).collect();
let low: Vec<f64> = mean.iter().zip(&variance).map(|(m, v)| m - v.sqrt()).collect();
let high: Vec<f64> = mean.iter().zip(&variance).map(|(m, v)| m + v.sqrt()).collect();
(0..6).fold(Chart::new("t", "x_{t}"), |chart, walker| chart.faint_line(&t, &paths.column(walker).to_vec()))
    .line("mean of 10,000", &t, &mean)
    .reference("mean ± standard deviation", &t, &low)
    .reference("", &t, &high)
    .figure()

// %% [markdown]
// *What to see:* the mean falls to 0 and the variance grows to 1, the curves smooth although every path is ragged. In the end a walker has forgotten where it started: $x_T$ is a draw from $\mathcal N(0, 1)$, whatever $x_0$ was.
//
// **Predict:** the steps are Gaussian. What shape has the histogram of the 10,000 values at $t = 300$: a bell, a bell with heavier tails, or something skewed towards 0.8?

// %% tags=["predict"]
check::predict("The histogram at t = 300", &["a bell", "a bell with heavier tails", "skewed towards 0.8"], 0)

// %% [markdown]
// ## From steps to a jump
//
// Two steps, written into one another, with $\alpha_t = 1-\beta_t$:
//
// $$x_2 = \sqrt{\alpha_2}\big(\sqrt{\alpha_1}\,x_0 + \sqrt{\beta_1}\,\epsilon_1\big) + \sqrt{\beta_2}\,\epsilon_2 .$$
//
// The two noises are independent, so their variances add: $\alpha_2\beta_1 + \beta_2 = \alpha_2(1-\alpha_1) + 1-\alpha_2 = 1-\alpha_1\alpha_2$. A sum of Gaussians is a Gaussian. So with
//
// $$\bar\alpha_t = \prod_{s=1}^{t}\alpha_s,\qquad \bar\alpha_0 = 1,$$
//
// any number of steps is one Gaussian (Eq. 4 of the paper):
//
// $$q(x_t \mid x_0) = \mathcal N\big(x_t;\ \sqrt{\bar\alpha_t}\,x_0,\ (1-\bar\alpha_t) I\big).$$
//
// $\bar\alpha_t$ is what is left of the image's variance, $1-\bar\alpha_t$ is the noise's share. Time is counted as in the paper: $t = 1, \dots, T$ are the steps, and index 0 means "no noise yet". The table therefore has $T+1$ entries.
//
// ### Exercise 2.2 (code): the table of ᾱ

// %% tags=["exercise"]
/// ᾱ_0, ᾱ_1, …, ᾱ_T: one number more than there are betas.
fn alpha_bars(betas: &[f64]) -> Vec<f64> {
    todo!()
}

// %% tags=["check"]
check::alpha_bars(alpha_bars)

// %% [markdown]
// ### Exercise 2.3 (code): the jump

// %% tags=["exercise"]
/// A sample of q(x_t|x_0) (Eq. 4), made from a given ε ~ N(0, 1).
fn noised(x0: f64, alpha_bar: f64, eps: f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::noised(noised)

// %% [markdown]
// ## What you wrote, on an image
//
// Your table and your jump, pixel by pixel: the bag of the figure above. If one of them is wrong, you see it here.

// %%
let jump = check::yours::noised(noised);
let table = check::yours::alpha_bars(alpha_bars);
let left = table(&(1..=1000).map(|t| linear.beta(t)).collect::<Vec<f64>>());
let bag = fashion_mnist_test().batch(&[18]);
let mut noisy = Batch::zeros((8, 28, 28, 1));
for (mut image, &t) in noisy.outer_iter_mut().zip(&times) {
    let eps: Batch = normal(bag.dim(), &mut stream(2, t as u64));
    image.assign(&ndarray::Zip::from(&bag.index_axis(Axis(0), 0)).and(&eps.index_axis(Axis(0), 0)).map_collect(|&x, &e| jump(x, left[t], e)));
}
Grid::new(&to_u8(&noisy), 8).scale(3).column_labels(times.iter().map(|t| format!("t = {t}"))).figure()

// %% [markdown]
// ## Does the jump land where the walkers went?
//
// Here is the histogram of the walkers at $t = 300$, that of 10,000 of your jumps, and the density that Eq. 4 promises.

// %%
let eps: Array1<f64> = normal(10_000, &mut stream(5, 0));
let jumped: Vec<f64> = eps.iter().map(|&e| jump(0.8, left[300], e)).collect();
fn counted(x: &[f64], centres: &[f64]) -> Vec<f64> {
    centres.iter().map(|c| x.iter().filter(|&&x| (x - c).abs() < 0.05).count() as f64 / 1000.0).collect()
}
let landed: Vec<f64> = paths.row(300).to_vec();
let centres: Vec<f64> = (0..70).map(|bin| -3.45 + bin as f64 / 10.0).collect();
let a = linear.alpha_bar(300);
let promised: Vec<f64> = centres.iter().map(|&c| log_normal(c, a.sqrt() * 0.8, (1.0 - a).ln()).exp()).collect();
assert!((mean[300] - a.sqrt() * 0.8).abs() < 0.04 && (variance[300] / (1.0 - a) - 1.0).abs() < 0.06);
Chart::new("x_{300}", "density").points("10,000 walkers, 300 steps each", &centres, &counted(&landed, &centres))
    .points("10,000 jumps", &centres, &counted(&jumped, &centres)).line("Eq. 4", &centres, &promised).figure()

// %% [markdown]
// *What to see:* a bell, and the right one. This is the first of the facts that make diffusion models trainable: to show a network a noisy image of any $t$, nobody has to walk. One multiplication and one addition per pixel will do.
//
// ## How fast? The schedule
//
// The numbers $\beta_1, \dots, \beta_T$ are called the **schedule**. The paper's is *linear*: $\beta_t$ rises from $10^{-4}$ to $0.02$. Others followed: in the *quadratic* one the roots $\sqrt{\beta_t}$ rise linearly, the *sigmoid* one lets $\beta_t$ rise along an S. The *cosine* schedule (Nichol and Dhariwal 2021) chooses $\bar\alpha_t$ itself, $f(t)/f(0)$ with
//
// $$f(t) = \cos^2\Big(\frac\pi2\cdot\frac{t/T + 0.008}{1.008}\Big).$$
//
// To compare them, look at $\bar\alpha_t$, or at the **signal-to-noise ratio** $\bar\alpha_t/(1-\bar\alpha_t)$, the image's share over the noise's. Its natural logarithm is 0 where both are equal.

// %%
fn curve(name: &str, schedule: &Schedule) -> figures::ScheduleCurve {
    figures::ScheduleCurve { name: name.into(), alpha_bar: (0..=schedule.T()).map(|t| schedule.alpha_bar(t)).collect() }
}
let cosine = Schedule::cosine(1000);
figures::schedules(&[
    curve("linear", &linear),
    curve("cosine", &cosine),
    curve("quadratic", &Schedule::quad(1000)),
    curve("sigmoid", &Schedule::sigmoid(1000)),
])

// %%
fn half(schedule: &Schedule) -> usize {
    (0..=schedule.T()).find(|&t| schedule.alpha_bar(t) < 0.5).unwrap()
}
println!("more noise than image from t = {} (linear), {} (cosine)", half(&linear), half(&cosine));
println!("ᾱ at t = 500: {:.3} (linear), {:.3} (cosine)", linear.alpha_bar(500), cosine.alpha_bar(500));

// %% [markdown]
// *What to see:* the linear schedule spends three quarters of its steps where noise already outweighs the image. The cosine schedule shares its time evenly. (At the right end it dives: $\bar\alpha_T$ is nearly 0, so there $\beta_t$ is cut off at 0.999.)
//
// **Predict:** the next figure shows one bag under both schedules. At which $t$ is it as noisy in the cosine row as at $t = 250$ in the linear row?

// %% tags=["predict"]
check::predict("The cosine row looks like the linear one at t = 250", &["at t = 250 as well", "near t = 375", "near t = 500"], 0)

// %%
let times = vec![0, 125, 250, 375, 500, 625, 750, 875, 1000];
let rows: Array4<u8> = ndarray::concatenate![Axis(0), strip(&linear, &[18], &times), strip(&cosine, &[18], &times)];
Grid::new(&rows, times.len())
    .column_labels(times.iter().map(|t| format!("t = {t}")))
    .scale(3)
    .row_labels(["linear", "cosine"])
    .figure()

// %% [markdown]
// *What to see:* $\bar\alpha$ passes ½ at 260 here and at 497 there, so the cosine row at $t = 500$ is about as noisy as the linear one at 250. The right half of the linear row is noise beside noise: steps from which there is little to learn. That is why the cosine schedule was made, for small images above all.
//
// ## Short chains, and the most frequent bug of all
//
// A chain of 50 steps is twenty times faster to sample. Many who tried it took the paper's $\beta_1 = 10^{-4}$ and $\beta_T = 0.02$ along. **Predict:** what does $x_{T}$ look like then, at the very end of the chain, for $T = 50$?

// %% tags=["predict"]
check::predict("x_T at the end of a chain of 50 steps with the β of 1000", &["pure noise, as it should be", "the image is still there", "nothing but grey"], 0)

// %%
fn ends(schedules: &[Schedule]) -> Array4<u8> {
    let images: Vec<Array4<u8>> = schedules.iter().map(|s| strip(s, &[18], &[s.T()])).collect();
    let views: Vec<_> = images.iter().map(|image| image.view()).collect();
    ndarray::concatenate(Axis(0), &views).unwrap()
}
let lengths = vec![50, 100, 200, 300, 1000];
let mut schedules: Vec<Schedule> = lengths.iter().map(|&n| Schedule::linear(n)).collect();
schedules.extend(lengths.iter().map(|&n| Schedule::linear_scaled(n).unwrap()));
Grid::new(&ends(&schedules), lengths.len())
    .column_labels(lengths.iter().map(|n| format!("T = {n}")))
    .scale(4)
    .row_labels(["β as it was", "β · 1000/T"])
    .figure()

// %% [markdown]
// *What to see:* in the upper row the chain of 50 ends with the bag still there, and that of 100 with its shadow. The sampler, however, starts from pure noise, which is no such thing: it begins at a place that the network never saw. Samples come out washed out or wrong, and nothing in the loss says why.
//
// The cure is in the lower row. $\bar\alpha_T \approx \exp(-\sum_t\beta_t)$, so the *sum* of the $\beta_t$ counts: half the steps need twice the $\beta$. With $T = 1000$ the two rows agree, which is why the bug is invisible until somebody shortens the chain.
//
// ### Exercise 2.4 (code): a schedule for any length
//
// Write the quadratic schedule, scaled by $1000/T$. Two exhibits of the museum await you: keeping the $\beta$ (it stood in a much-read blog, with $T = 200$), and squaring $\beta_1$ and $\beta_T$ where their roots are wanted (that one has been copied from program to program for years).

// %% tags=["exercise"]
/// β_1 … β_T: the roots rise linearly from √1e-4 to √0.02; each β is then multiplied by 1000/T.
fn quad_betas(steps: usize) -> Vec<f64> {
    todo!()
}

// %% tags=["check"]
check::quad_betas(quad_betas)

// %% [markdown]
// ## A number that finds the bug
//
// Looking at pictures is a weak test. The paper has a better one: the first term of its bound on the likelihood (Eq. 5), which compares where the chain ends with the noise that the sampler starts from:
//
// $$L_T = \mathrm{KL}\big(q(x_T\mid x_0)\,\|\,\mathcal N(0, I)\big) = \sum_{\text{pixels}} \tfrac12\big(\bar\alpha_T\,x_0^2 - \bar\alpha_T - \log(1-\bar\alpha_T)\big)\ \text{nats}.$$
//
// It is the divergence of notebook 01 with $m_1 = \sqrt{\bar\alpha_T}\,x_0$, $v_1 = 1-\bar\alpha_T$, $m_2 = 0$, $v_2 = 1$. No network takes part: a schedule alone decides it.
//
// A word about the words: the poster from which this project began says that $L_T$ compares the prior with "the forward process posterior $q(x_T|x_0)$". It should be the forward process *marginal*. A posterior looks back, from late to early: the name belongs to $q(x_{t-1}|x_t, x_0)$, of the next notebook. One sees it from the indices: here the condition $x_0$ comes *before* $x_T$.
//
// ### Exercise 2.5 (guess): predict

// %%
check::task("prior_cost")

// %% tags=["exercise"]
/// L_T in bits/dim for the chain of the question.
fn prior_cost() -> f64 {
    todo!()
}

// %% tags=["check"]
check::prior_cost(prior_cost)

// %% [markdown]
// Now for real garments (in the table `e-1` means $10^{-1}$), whose pixels are larger, $\mathbb E\,x_0^2 = 0.68$, because so many are black ($-1$).

// %%
let garments = fashion_mnist_test().batch(&(0..500).collect::<Vec<_>>());
fn prior_bits(schedule: &Schedule, images: &Batch) -> f64 {
    bits_per_dim(L_T(schedule, images).mean().unwrap(), 28 * 28)
}
fn both(n: usize, images: &Batch) -> Vec<String> {
    let schedules = [Schedule::linear(n), Schedule::linear_scaled(n).unwrap()];
    let numbers = schedules.iter().flat_map(|s| [s.alpha_bar(n), prior_bits(s, images)]);
    std::iter::once(n.to_string()).chain(numbers.map(|x| format!("{x:.2e}"))).collect()
}
Table::new(["T", "ᾱ_T, β as it was", "L_T, bits/dim", "ᾱ_T, β · 1000/T", "L_T, bits/dim"])
    .row(both(50, &garments))
    .row(both(200, &garments))
    .row(both(300, &garments))
    .row(both(1000, &garments))

// %%
let lengths: Vec<usize> = vec![25, 35, 50, 70, 100, 140, 200, 300, 500, 700, 1000, 1500];
let x: Vec<f64> = lengths.iter().map(|&n| n as f64).collect();
let kept: Vec<f64> = lengths.iter().map(|&n| prior_bits(&Schedule::linear(n), &garments)).collect();
let scaled: Vec<f64> = lengths.iter().map(|&n| prior_bits(&Schedule::linear_scaled(n).unwrap(), &garments)).collect();
assert!(kept[2] > 0.3 && scaled.iter().all(|&bits| bits < 3e-5));
Chart::new("T", "L_{T}, bits/dim").scales(Scale::Log, Scale::Log)
    .line("β as it was", &x, &kept).marks(&x, &kept)
    .line("β · 1000/T", &x, &scaled).marks(&x, &scaled)
    .reference("all terms of the bound, shipped network: 3.4", &[25.0, 1500.0], &[3.4, 3.4])
    .figure()

// %% [markdown]
// *What to see:* at $T = 50$ the slip adds half a bit per pixel to the bound, and no training can take it away. At $T = 1000$ or with scaled $\beta$ it is about 0.00002 bits or less: the image is forgotten. The paper quotes about $10^{-5}$ for its own images. Print $L_T$ once at the start of a program and this bug can't happen to you.
//
// ## The museum, as curves
//
// Here are three schedules as they were published with a slip, beside two right ones and the one that you wrote.

// %%
fn bars(betas: Vec<f64>) -> Vec<f64> {
    let schedule = Schedule::from_betas(&betas).unwrap();
    (0..=betas.len()).map(|t| schedule.alpha_bar(t)).collect()
}
fn cos(t: f64) -> f64 {
    (std::f64::consts::FRAC_PI_2 * (t / 1000.0 + 0.008) / 1.008).cos()
}
let of_fifty: Vec<f64> = (0..=50).map(|t| t as f64 * 20.0).collect();
let squared: Vec<f64> = bars((0..1000).map(|i| (1e-8 + (4e-4 - 1e-8) * i as f64 / 999.0).powi(2)).collect());
let unsquared: Vec<f64> = t.iter().map(|&t| cos(t) / cos(0.0)).collect();
let quadratic = check::yours::quad_betas(quad_betas)(1000);
Chart::new("t · 1000/T", "ᾱ_{t}").y_range(0.0, 1.05)
    .line("quadratic, by quad_betas", &t, &bars(quadratic.clone()))
    .line("right: linear", &t, &curve("", &linear).alpha_bar)
    .line("right: cosine", &t, &curve("", &cosine).alpha_bar)
    .line("T = 50, β as it was", &of_fifty, &curve("", &Schedule::linear(50)).alpha_bar)
    .line("quadratic, ends squared instead of rooted", &t, &squared)
    .line("cosine without its square", &t, &unsquared)
    .figure()

// %% [markdown]
// *What to see:* a curve of $\bar\alpha_t$ must start at 1 and end near 0. With squared ends nothing is ever destroyed: $\bar\alpha_T = 0.99995$. The cosine without its square is the dangerous one: it starts and ends as it should, and only a comparison with numbers finds it. (A fourth exhibit can't be drawn: a program that divided $t/T$ as integers had $\bar\alpha_t = 1$ for every $t < T$. In Rust, `t / T` of two `usize` does just that.)
//
// ### ★ Open
//
// Invent a schedule that spends its steps where a garment's outline disappears, and defend it with a figure. What would you measure to know whether it is better than the cosine?
//
// ## You can now
//
// - noise an image to any $t$ in one line, and say why the line is right;
// - read a schedule by its $\bar\alpha_t$ and its signal-to-noise ratio, and shorten a chain without breaking it;
// - test a schedule by a number, $L_T$ in bits/dim.
//
// **In the paper:** section 2 (Eqs. 2 and 4), section 3.1 (why $L_T$ is a constant), section 4 (the choice of $T$ and $\beta$, and $L_T\approx10^{-5}$).

// %%
println!("{}", check::score());
