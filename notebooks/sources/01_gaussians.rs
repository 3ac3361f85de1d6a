// %% [markdown]
// # 01 Gaussians, KL, bits
//
// **You will be able to** write down the density of a Gaussian, say how far two Gaussians are apart, and turn a likelihood into *bits per dimension*, the unit in which the paper compares models.
//
// **Before:** notebook 00. **Time:** 105 minutes, 20 of them for the first part, which you may skip if Bayes' rule and Markov chains are old friends. **Figure:** what a bell curve gives to each of 256 grey levels.
//
// Everything in a diffusion model is a Gaussian: the noise, each step of the chain, the guess of the step back. Three tools are enough for all of it: a logarithm of a density, a distance between two Gaussians, and a unit.

// %%
:dep ddpm = { package = "ddpm-notebook", path = "kernel" }
use ddpm::prelude::*;
ddpm::start();

// %% [markdown]
// ## Probability in twenty minutes
//
// Four words are used on every page of this course: *conditional*, *Bayes*, *Markov*, *expectation*. Here they are on garments, where every probability can be counted.
//
// **Conditional.** How probable is it that a certain pixel is black? And *given* that the garment is a trouser? $P(\text{black}\mid\text{trouser})$ is a share among trousers alone. The pixel of row 22, column 14 lies where trousers have their gap, between the legs.

// %%
let all = fashion_mnist_test();
let labels = all.labels.clone().unwrap();
let names = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"];
let black: Vec<f64> = (0..10).map(|class| {
    let of_class: Vec<usize> = (0..all.len()).filter(|&n| labels[n] == class).collect();
    of_class.iter().filter(|&&n| all.pixels[[n, 22, 14, 0]] == 0).count() as f64 / of_class.len() as f64
}).collect();
for class in [1, 3, 5, 8] { println!("P(black | {}) = {:.3}", names[class], black[class]); };
println!("P(black) = {:.3}, the mean over the classes, each of which has 1,000 images", black.iter().sum::<f64>() / 10.0);

// %% [markdown]
// **Bayes.** Now the other way: the pixel *is* black; which garment is it? By the definition of "given", $P(\text{class}, \text{black}) = P(\text{class})\,P(\text{black}\mid\text{class}) = P(\text{black})\,P(\text{class}\mid\text{black})$, so
//
// $$P(\text{class}\mid\text{black}) = \frac{P(\text{class})\,P(\text{black}\mid\text{class})}{\sum_{\text{all classes}} P(\text{class}')\,P(\text{black}\mid\text{class}')}.$$
//
// What one believed before (the *prior*) times what each hypothesis says about what was seen (the *likelihood*), divided by a sum that makes the shares add up to 1 (the *posterior*). With a prior of 0.1 for each class, what do you expect for trousers?
//
// ### Exercise 1.1 (code): Bayes' rule

// %% tags=["exercise"]
/// The posterior of each hypothesis, from its prior and from the likelihood of what was seen under it.
fn updated(prior: &[f64], likelihood: &[f64]) -> Vec<f64> {
    todo!()
}

// %% tags=["check"]
check::updated(updated)

// %% [markdown]
// From here on this happens after many exercises: `check::yours::updated(updated)` is *your* function, right or wrong, and draws what follows. As long as you have written nothing, the course puts its own there, and says so.

// %%
let bayes = check::yours::updated(updated);
let posterior = bayes(&[0.1; 10], &black);
for class in 0..10 { println!("{:>9}  prior 0.100   P(black | class) {:.3}   posterior {:.3}", names[class], black[class], posterior[class]); };

// %% [markdown]
// *What to see:* one black pixel makes trousers, sandals and sneakers likely and rules out dresses, coats and pullovers almost. Notebook 03 turns a diffusion step round with this rule, only that sums become integrals.
//
// **Markov.** A *Markov chain* forgets how it came where it is: the next state depends on the present one alone. Take a pixel that is black or white. In each step, with probability 0.1, it is thrown away and a coin decides its colour. Then $P(\text{stays}) = 0.95$, and this is all of a diffusion process already, with a coin in the place of Gaussian noise.
//
// ### Exercise 1.2 (code): a chain

// %% tags=["exercise"]
/// The probabilities of the states after n steps; step[[i, j]] is that of going from i to j.
fn after_steps(p: &[f64], step: &Array2<f64>, n: usize) -> Vec<f64> {
    todo!()
}

// %% tags=["check"]
check::after_steps(after_steps)

// %%
let chain = check::yours::after_steps(after_steps);
let coin = array![[0.95, 0.05], [0.05, 0.95]];
let n: Vec<f64> = (0..=60).map(f64::from).collect();
{
    let mut chart = Chart::new("steps", "P(white)").y_range(0.0, 1.0);
    for white in [1.0, 0.7, 0.0] {
        let line: Vec<f64> = (0..=60).map(|n| chain(&[1.0 - white, white], &coin, n)[1]).collect();
        chart = chart.line(format!("white at first with {white}"), &n, &line);
    }
    chart.figure()
}

// %% [markdown]
// *What to see:* after sixty steps a coin is left, wherever the pixel began: what was there is forgotten at a known rate. To make images one would have to walk back, and for that one needs Bayes' rule *and* a prior over images. This is what the rest of the course is about.
//
// **Expectation.** $\mathbb E f(x)$ is the mean of $f$ over many draws of $x$. Two facts about it carry most derivations: $\mathbb E[f+g]=\mathbb E f+\mathbb E g$ always, and $\mathbb E[fg]=\mathbb E f\cdot\mathbb E g$ if the two are independent. Where no formula is at hand, one draws, and averages: Monte Carlo, whose error we shall meet below.
//
// ## The bell curve
//
// A Gaussian with mean $m$ and variance $v$ has the density
//
// $$\mathcal N(x; m, v) = \frac{1}{\sqrt{2\pi v}}\,\exp\Big(-\frac{(x-m)^2}{2v}\Big).$$
//
// The standard deviation is $\sigma=\sqrt v$. Papers write the variance into the bracket, programs mostly want $\sigma$: half of all bugs in this course live in that square root.

// %%
fn density(x: &[f64], mean: f64, variance: f64) -> Vec<f64> {
    x.iter().map(|&x| log_normal(x, mean, variance.ln()).exp()).collect()
}
let x: Vec<f64> = (-400..=400).map(|i| i as f64 / 100.0).collect();
let standard = density(&x, 0.0, 1.0);
let narrow = density(&x, 1.0, 0.25);
Chart::new("x", "density")
    .line("N(0, 1)", &x, &standard)
    .line("N(1, 0.25)", &x, &narrow)
    .figure()

// %% [markdown]
// *What to see:* four times less variance makes the curve half as wide and twice as high. A density is not a probability: it may exceed 1, as a narrower one soon would. Only areas are probabilities.
//
// Products of many densities underflow, so we work with logarithms, in **nats** (natural logarithms). The crate's `log_normal(x, mean, log_variance)` takes the logarithm of the variance too, since that is what the paper's formulas need.

// %%
let far = log_normal(40.0, 0.0, 0.0);
println!("log N(40; 0, 1) = {far} nats, and the density itself is {}", far.exp());

// %% [markdown]
// The density is 0 in floating point, where normal numbers end at about $10^{-308}$ and the last crumbs at $5\cdot10^{-324}$. Its logarithm is an ordinary number.
//
// ### Exercise 1.3 (code): the logarithm of a density
//
// Replace `todo!()`. The check calls your function with inputs of its own and compares.

// %% tags=["exercise"]
/// log N(x; m, v) in nats, where v is the variance.
fn log_pdf(x: f64, mean: f64, variance: f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::log_pdf(log_pdf)

// %% [markdown]
// Until you have written it, the check says *not written yet*, in grey. Stuck? Run `check::hint("log_pdf")`, again for the next hint.
//
// ## Samples have the moments they should
//
// Every random number of this course comes from a *stream*: `stream(seed, n)` gives the same numbers on every machine, so your figures are those you see here.

// %%
let eps: Array1<f64> = normal(10_000, &mut stream(1, 0));
let mean = eps.mean().unwrap();
let variance = eps.mapv(|e| (e - mean).powi(2)).mean().unwrap();
println!("mean {mean:.4}, variance {variance:.4} of 10,000 draws from N(0, 1)");

// %% [markdown]
// *What to see:* neither is exact. A Monte-Carlo average of $n$ draws is typically off by $\sigma/\sqrt n$, here 0.01 (this mean is luckier than that): four times the work for half the error. This is why every number we estimate later comes with a ± behind it.
//
// To draw from $\mathcal N(m, v)$, scale and shift: $x = m + \sqrt v\,\epsilon$ with $\epsilon\sim\mathcal N(0,1)$. The whole forward process of the next notebook is this one line.

// %%
let drawn: Vec<f64> = eps.iter().map(|e| 1.0 + 0.25_f64.sqrt() * e).collect();
let counts: Vec<f64> = (0..80).map(|bin| {
    let low = -4.0 + bin as f64 / 10.0;
    drawn.iter().filter(|&&x| x >= low && x < low + 0.1).count() as f64 / 1000.0
}).collect();
let centres: Vec<f64> = (0..80).map(|bin| -3.95 + bin as f64 / 10.0).collect();
Chart::new("x", "density").points("10,000 draws, counted", &centres, &counts).line("N(1, 0.25)", &x, &narrow).figure()

// %% [markdown]
// ## How far apart are two Gaussians?
//
// The **Kullback–Leibler divergence** is the mean of the logarithm of a ratio: how many nats worse you predict $x\sim p$ if you believe in $q$,
//
// $$\mathrm{KL}(p\,\|\,q) = \mathbb E_{x\sim p}\big[\log p(x) - \log q(x)\big] \ge 0,$$
//
// and 0 only if $p=q$. For Gaussians the integral has a closed form, the work-horse of the whole paper (it turns Eq. 5 into Eq. 8):
//
// $$\mathrm{KL}\big(\mathcal N(m_1,v_1)\,\|\,\mathcal N(m_2,v_2)\big) = \tfrac12\Big(\log\frac{v_2}{v_1} - 1 + \frac{v_1}{v_2} + \frac{(m_1-m_2)^2}{v_2}\Big).$$
//
// **Predict:** which is larger, the divergence of $\mathcal N(0,1)$ from $\mathcal N(0,4)$, or that of $\mathcal N(0,4)$ from $\mathcal N(0,1)$? Commit to an answer before you run the next cell.

// %% tags=["predict"]
check::predict("Which divergence is larger?", &["of N(0, 1) from N(0, 4)", "of N(0, 4) from N(0, 1)", "they are equal"], 0)

// %%
let wide = kl_normal(0.0, 0.0, 0.0, 4.0_f64.ln());
let narrow_model = kl_normal(0.0, 4.0_f64.ln(), 0.0, 0.0);
println!("KL(N(0,1) ‖ N(0,4)) = {wide:.4} nats");
println!("KL(N(0,4) ‖ N(0,1)) = {narrow_model:.4} nats");

// %% [markdown]
// *What to see:* it is worse to believe in too narrow a distribution than in too wide a one. What falls outside costs dearly, since its log density falls with the square.
//
// ### Where the closed form comes from
//
// Three lines. First the difference of the two logarithms; the $2\pi$ cancel:
//
// $$\log p(x)-\log q(x)=\tfrac12\Big(\log\frac{v_2}{v_1}+\frac{(x-m_2)^2}{v_2}-\frac{(x-m_1)^2}{v_1}\Big).$$
//
// Then the mean over $x\sim p$. The last fraction has the mean 1, as $v_1$ is *defined* as $\mathbb E(x-m_1)^2$. The one before needs $\mathbb E(x-m_2)^2$, a square about the wrong mean:
//
// ### Exercise 1.4 (pencil): the missing line
//
// The check adds up the definition over a grid and compares both sides.

// %% tags=["exercise"]
/// E (x − m2)² for x ~ N(m1, v1).
fn mean_square(m1: f64, v1: f64, m2: f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::mean_square(mean_square)

// %% [markdown]
// Put it in, and the third line is the closed form above.
//
// ### Exercise 1.5 (code): the divergence of two Gaussians

// %% tags=["exercise"]
/// KL(N(m_1, v_1) ‖ N(m_2, v_2)) in nats.
fn kl(m1: f64, v1: f64, m2: f64, v2: f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::kl(kl)

// %% [markdown]
// ### The closed form against dice
//
// A formula that nobody has compared with anything is a rumour. Here is the definition, as an average over 10,000 draws from $p=\mathcal N(1, 0.25)$, with $q=\mathcal N(0,1)$.

// %%
let divergence = check::yours::kl(kl);
let ratios: Array1<f64> = drawn.iter().map(|&x| log_normal(x, 1.0, 0.25_f64.ln()) - log_normal(x, 0.0, 0.0)).collect();
let estimate = Estimate::of(&ratios);
let exact = kl_normal(1.0, 0.25_f64.ln(), 0.0, 0.0);
println!("Monte Carlo {estimate} nats, closed form {exact:.4} nats, by kl {:.4} nats", divergence(1.0, 0.25, 0.0, 1.0));
assert!((estimate.mean - exact).abs() < 4.0 * estimate.std_error);

// %% [markdown]
// The `assert!` belongs to the notebook: where a cell claims something, it checks it, and our automatic run of all notebooks fails if it is not so.
//
// ## Images are not real numbers: 256 grey levels
//
// A grey level $k\in\{0,\dots,255\}$ becomes the pixel $x = k/127.5 - 1 \in [-1, 1]$. A *density* can't be the likelihood of an integer; a model of images has to say what **probability** it gives to each level. The paper (Eq. 13) cuts the line into 256 bins of width $2/255$ and gives each level the area over its bin. The two outermost bins are open, so that nothing is lost.

// %%
let levels: Vec<f64> = (0..256).map(|k| k as f64).collect();
fn bins(mean: f64, sigma: f64) -> Vec<f64> {
    (0..256).map(|k| Decoder::Exact.log_prob(k as f64 / 127.5 - 1.0, mean, sigma.ln()).exp()).collect()
}
Chart::new("grey level k", "probability")
    .line("m = 0, σ = 0.1", &levels, &bins(0.0, 0.1))
    .line("m = -0.9, σ = 0.15", &levels, &bins(-0.9, 0.15))
    .figure()

// %% [markdown]
// *What to see:* the blue curve is a bell again, cut into 256 slices. The other one stands at the dark edge, and all the mass that would lie below black is heaped on level 0: the spike at the left.
//
// ### Exercise 1.6 (code): the probability of a grey level
//
// `cdf(z)` is $\Phi(z)$, the area of $\mathcal N(0,1)$ to the left of $z$.

// %% tags=["exercise"]
/// What N(m, σ²) gives to grey level k: the area over its bin, open at the two ends.
fn bin_probability(k: usize, mean: f64, sigma: f64, cdf: fn(f64) -> f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::bin_probability(bin_probability)

// %% [markdown]
// ### How good is the authors' formula for Φ?
//
// The authors' own code has no $\Phi$ but an approximation, $\tilde\Phi(z) = \frac12\big(1 + \tanh(\sqrt{2/\pi}\,(z + 0.044715\,z^3))\big)$. Plotted, the two are one curve.

// %%
fn tanh_cdf(z: f64) -> f64 {
    0.5 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (z + 0.044715 * z.powi(3))).tanh())
}
let z: Vec<f64> = (-400..=400).map(|i| i as f64 / 100.0).collect();
let difference: Vec<f64> = z.iter().map(|&z| tanh_cdf(z) - normal_cdf(z)).collect();
Chart::new("z", "Φ̃(z) − Φ(z)").line("difference", &z, &difference).figure()

// %% [markdown]
// *What to see:* never off by more than 0.0002. But a likelihood needs the *logarithm*, and in the tail a small difference of small numbers can be a large ratio.
//
// ### Exercise 1.7 (guess): predict
//
// Write your guess into the function; you may also compute it. (The crate has `normal_cdf(z)` and `log_normal_cdf(z)`.)

// %%
check::task("tanh_error")

// %% tags=["exercise"]
/// |log Φ̃(z) − log Φ(z)| in nats, for the z of the question.
fn tanh_error() -> f64 {
    todo!()
}

// %% tags=["check"]
check::tanh_error(tanh_error)

// %% [markdown]
// That is why the crate computes both: `Decoder::Exact` is the truth, `Decoder::Tanh` lets us compare with published numbers.
//
// ## Bits per dimension
//
// A nat is what $e$ equally likely outcomes are worth, a **bit** is what two are: 1 bit = $\ln 2$ = 0.693 nats. A model that gives an image the probability $p$ could store it in $-\log_2 p$ bits. Divided by the number of dimensions (pixels × channels) it is comparable between sizes:
//
// $$\text{bits/dim} = \frac{-\log p(x)}{D\,\ln 2}.$$

// %%
let raw = bits_per_dim(784.0 * 256.0_f64.ln(), 784);
let images = all.first(1000).batch(&(0..1000).collect::<Vec<_>>());
let mut counts = vec![0.0_f64; 256];
to_u8(&images).iter().for_each(|&k| counts[k as usize] += 1.0);
let total: f64 = counts.iter().sum();
let entropy: f64 = counts.iter().filter(|&&c| c > 0.0).map(|c| -c / total * (c / total).log2()).sum();
println!("all levels alike: {raw:.2} bits/dim; by how often each level occurs: {entropy:.2} bits/dim");

// %% [markdown]
// *What to see:* a model that knows nothing needs 8 bits per pixel. One that knows only how often each level occurs in our garments (half of all pixels are black) gets by with far fewer. In notebook 11 the shipped network, which knows how garments look, needs about 3.4.
//
// ### Exercise 1.8 (code): the unit

// %% tags=["exercise"]
/// Nats of an image of `dims` numbers, in bits per dimension.
fn to_bits_per_dim(nats: f64, dims: usize) -> f64 {
    todo!()
}

// %% tags=["check"]
check::to_bits_per_dim(to_bits_per_dim)

// %% [markdown]
// ### ★ Open
//
// Two hypotheses with a prior of ½ each, and pixel after pixel of one garment: apply `updated` 784 times, treating the pixels as independent. How sure is the result, and how often is it right? Why are these two not the same?
//
// ## You can now
//
// - turn a probability round by Bayes' rule, and follow a chain;
// - compute log densities that don't underflow, and KL divergences without dice;
// - say what probability a Gaussian gives to a grey level, at the edges too;
// - translate nats into bits per dimension.
//
// **In the paper:** section 2 (the Gaussians of Eqs. 1 and 2), section 3.3 (Eq. 13, the discrete decoder), appendix A (where KL divergences between Gaussians make the bound computable).

// %%
println!("{}", check::score());
