// %% [markdown]
// # 00 What you will build, and Rust in Jupyter
//
// **You will be able to** say what a diffusion model does, run and change the cells of this course, read the Rust in them, show a figure, and have an exercise checked.
//
// **Before:** you have programmed in some language. No Rust, no mathematics. **Time:** 65 minutes. **Figure:** a shoe that dissolves in noise.
//
// Click into a cell and press Shift+Enter: it runs, and the next one is selected. Start with this one. It loads the library of the course under the name `ddpm`; the first time it may take a minute.

// %%
:dep ddpm = { package = "ddpm-notebook", path = "kernel" }
use ddpm::prelude::*;
ddpm::start();

// %% [markdown]
// Every notebook begins with these three lines. Run them again after a restart of the kernel (menu *Kernel*): variables are gone then.
//
// ## The goal first
//
// The next cell makes garments out of noise. Don't read its code yet; run it. A network of 2.6 million weights, trained on 60,000 photographs of clothes, looks at pure noise, says what noise it sees, takes a little of that away, and looks again, fifty times.

// %%
let model = checkpoint::shipped().unwrap();
let kept = [50, 40, 30, 25, 20, 15, 10, 5, 2];
{
    let (short, chain) = respace(&model.unet, &model.reverse, 50);
    let (made, looks) = progressive(&short, &chain, [4, 28, 28, 1], &kept, &Noise::seed(5));
    let mut rows: Vec<u8> = Vec::new();
    for n in 0..4 {
        for look in &looks { rows.extend(to_u8(&look.x_t.slice(s![n..n + 1, .., .., ..]).to_owned())); }
        rows.extend(to_u8(&made.slice(s![n..n + 1, .., .., ..]).to_owned()));
    }
    Grid::new(&Array4::from_shape_vec((40, 28, 28, 1), rows).unwrap(), 10).scale(2).figure()
}

// %% [markdown]
// *What to see:* each row begins at the left with noise, and nobody has drawn what stands at its end. Training never showed the network how to make an image, only noisy ones, and asked for the noise. Why that is enough is the subject of this course.
//
// It is a **model of probability** too: it can say how surprised it is by an image, in bits, term by term, where every term belongs to one step of the chain. Here they are for sixteen garments that it has never seen:

// %%
let unseen = fashion_mnist_test().batch(&(0..16).collect::<Vec<_>>());
let options = ElboOptions { time_steps: TimeSteps::Stratified { count: 10, seed: 1 }, ..ElboOptions::default() };
println!("{}", elbo(&model.unet, &model.reverse, &unseen, &options, &Noise::seed(1)));

// %% [markdown]
// Eight bits per pixel would be needed without any model, and about 5 by a PNG file. After notebook 04 you can compute each of these lines, after 08 you have written the loop that trains, after 09 the network, and in 11 you will know which of the bits nobody can see.
//
// The course follows a paper, *Denoising Diffusion Probabilistic Models* (Ho, Jain and Abbeel 2020), and rebuilds its figures. It began with **a poster**: a summary of that paper on two pages, with impressionist paintings in the place of faces (samples, interpolations, all steps of denoising). Its formulas have some slips. They are worth more than a clean copy, and you will meet them as questions: what would this misprint do?
//
// You need no Rust; the rest of this notebook has as much of it as the others ask for.
//
// ## Values
//
// `let` gives a value a name. `println!` prints a text in which each `{name}` is replaced by a value; `{name:.3}` shows three digits.

// %%
let steps = 1000;
let beta = 0.02;
println!("{steps} steps, the last one with β = {beta:.3}");

// %% [markdown]
// Names live on from cell to cell. What stands on a cell's last line, without a semicolon, is shown:

// %%
beta * 10.0

// %% [markdown]
// Each value has a **type**, and Rust never changes one into another behind your back. `steps` is an integer, `beta` an `f64`, a number with 64 bits and a decimal point. `steps * beta` is an error; you say what you mean with `as`:

// %%
let total = steps as f64 * beta;
println!("{total}");

// %% [markdown]
// Try it: delete `as f64` and run the cell. The compiler answers, in red,
//
// ```text
// cannot multiply `{integer}` by `{float}`
// ```
//
// and nothing else happens: your other variables are as they were. Put it back. You will see many such messages, and they are the reason why a Rust program that compiles so often works.
//
// A name can't be given another value, unless it was made with `let mut`:

// %%
let mut noise_left = 1.0;
for _ in 0..3 { noise_left *= 1.0 - beta; }
println!("after three steps {noise_left:.4} of the image is left");

// %% [markdown]
// ## Functions
//
// Types of arguments and results are written down. The last expression, without a semicolon, is the result; there is no need for `return`.

// %%
fn left_after(steps: usize, beta: f64) -> f64 {
    (1.0 - beta).powi(steps as i32)
}
left_after(3, 0.02)

// %% [markdown]
// `usize` is the type of counts and indices, `powi` raises to an integer power. (The exact result is 0.941192; the nines are the rounding of the last of the 64 bits.)
//
// ### Exercise 0.1 (code): your first check
//
// In each exercise you replace `todo!()` by your code, run the cell, and then the one below it; the button *✓ Check* above, or Ctrl+Shift+Enter, does both. `todo!()` means "not written yet", and the check says so. Write `2.0 * x` in its place.

// %% tags=["exercise"]
/// Twice the number.
fn twice(x: f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::twice(twice)

// %% [markdown]
// Did you run both cells? Then you see a ✓. Now spoil it: write `x * x`, run both again, and read what the check says. It tries several inputs, shows the first that goes wrong, and often knows why.
//
// ## Many values
//
// A `Vec<f64>` is a list of numbers. A **range** such as `0..=1000` counts (`=` says that 1000 is included), `map` does something to each, `collect` makes a list of the results. `|t| …` is a small function without a name.

// %%
let t: Vec<f64> = (0..=1000).map(|t| t as f64).collect();
let constant: Vec<f64> = (0..=1000).map(|t| left_after(t, 0.01)).collect();
let paper: Vec<f64> = (0..=1000).map(|t| Schedule::linear(1000).alpha_bar(t)).collect();
Chart::new("step t", "what is left of the image")
    .line("every step takes 1 %", &t, &constant)
    .line("the schedule of the paper, ᾱ_{t}", &t, &paper)
    .figure()

// %% [markdown]
// *What to see:* your first figure. Anything that ends in `.figure()` on a cell's last line is drawn. The second curve, called *alpha bar*, accompanies us through the whole course: it takes little at first and ends at almost nothing.
//
// ## Grey levels are small integers
//
// The images of this course are garments, 28×28 pixels. Each pixel is a `u8`, an integer from 0 (black) to 255 (white).

// %%
let garments = fashion_mnist_test();
println!("{} images, a pixel of the first: {}", garments.len(), garments.pixels[[0, 15, 15, 0]]);
Grid::new(&garments.first(10).pixels, 10).figure()

// %% [markdown]
// 200 + 100 does not fit into a `u8`: depending on how it was built, the program stops or starts again at 0. So convert *first*, then calculate.
//
// ### Exercise 0.2 (code): convert, then calculate
//
// `levels.iter()` goes through the numbers, `.map(|&level| …)` changes each, `.sum::<f64>()` adds up numbers of type `f64`, and `levels.len()` counts them. Stuck? `check::hint("average")` gives a hint, and each further call one more.

// %% tags=["exercise"]
/// The mean of some grey levels.
fn average(levels: &[u8]) -> f64 {
    todo!()
}

// %% tags=["check"]
check::average(average)

// %% [markdown]
// (`&[u8]` is a list of `u8` that the function may look at, wherever it lies.)
//
// ## Counting down
//
// A diffusion model makes an image by counting down, from step $T$ to step 1. **Predict:** what does this cell print?

// %% tags=["predict"]
check::predict("What does the cell print?", &["5, 4, 3, 2, 1", "an empty list", "an error"], 0)

// %%
let down: Vec<usize> = (5..=1).collect();
println!("{down:?}");

// %% [markdown]
// An empty list: a range that begins above its end holds nothing, and nobody complains. A sampler with this loop returns pure noise, at once.
//
// ### Exercise 0.3 (code): count down
//
// A range can be turned round with `.rev()`.

// %% tags=["exercise"]
/// steps, steps − 1, …, 2, 1.
fn countdown(steps: usize) -> Vec<usize> {
    todo!()
}

// %% tags=["check"]
check::countdown(countdown)

// %% [markdown]
// ## Whose is it?
//
// What makes Rust different: every value has one **owner**. Three ways to hand it on:
//
// - `&image` *lends* it: the function may look, and you keep it. Most functions of the course want this.
// - `image` alone *gives it away*: afterwards the name can't be used any more (error *borrow of moved value*).
// - `image.clone()` hands over a *copy*.
//
// Images are arrays of the library ndarray: `Array2<f64>` is a matrix, and `[[row, column]]` picks a number.

// %%
fn range(image: &Array2<f64>) -> (f64, f64) {
    (image.fold(1.0, |a, &b| b.min(a)), image.fold(-1.0, |a, &b| b.max(a)))
}
let shoe: Array2<f64> = to_unit(&garments.pixels.slice(s![0, .., .., 0]).to_owned());
println!("shape {:?}, smallest and largest pixel {:?}; row 15 begins {:.2}", shoe.dim(), range(&shoe), shoe.slice(s![15, ..4]));

// %% [markdown]
// `to_unit` maps the levels 0…255 to $[-1, 1]$, where all mathematics of this course happens; `s![0, .., .., 0]` takes the first image and its only colour.
//
// A row of a matrix, `image.row(15)`, is a **view**: it borrows the numbers from the image and can't outlive it. A function that made or received the image can't return such a view as a value of its own, and a notebook can't keep one from cell to cell. `.to_owned()` makes a copy that stands for itself.
//
// ### Exercise 0.4 (code): a copy of your own

// %% tags=["exercise"]
/// An owned copy of the row with the largest sum.
fn brightest_row(image: &Array2<f64>) -> Array1<f64> {
    todo!()
}

// %% tags=["check"]
check::brightest_row(brightest_row)

// %% [markdown]
// ## Dice that always fall alike
//
// Random numbers come from a *stream* with a number: `stream(0, 0)` gives the same dice to everybody, so your pictures are those you see here. `&mut` lends the dice so that they may be used up.

// %%
let noise: Batch = normal((8, 28, 28, 1), &mut stream(0, 0));
println!("shape {:?}, the first number {:.4}", noise.shape(), noise[[0, 0, 0, 0]]);
Grid::new(&to_u8(&noise), 8).figure()

// %% [markdown]
// *What to see:* eight images of pure noise. This is what a diffusion model starts from. A `Batch` is several images at once, `[how many, height, width, colours]`.
//
// And this is where it comes from. The next cell mixes a shoe with noise, with more noise in each frame, by the curve $\bar\alpha_t$ above:

// %%
let times: Vec<usize> = (0..=30).map(|i| i * 1000 / 30).collect();
let x0 = garments.batch(&vec![0; times.len()]);
let same_noise = noise.slice(s![..1, .., .., ..]).broadcast(x0.dim()).unwrap().to_owned();
let frames = q_sample(&Schedule::linear(1000), &x0, &times, &same_noise);
Gif::new(&to_u8(&frames), 120).scale(6)

// %% [markdown]
// *What to see:* everything you need to destroy a shoe. The rest of the course is about the way back.
//
// (`unwrap()` takes a value out of a box that might be empty, and stops the program if it is.)
//
// ## When something goes wrong
//
// - A red message: the cell did not compile and did nothing. Read its first line.
// - `⚠ panicked: …`: the program stopped in the middle of the cell, at an index that doesn't exist, say. Earlier variables are still there.
// - `assert!(a < b)` panics if it is not so. Where a notebook claims something, it asserts it:

// %%
assert!(left_after(1000, 0.01) < 0.0001);
println!("so it is");

// %% [markdown]
// - A cell that doesn't end: *Kernel → Interrupt*. The variables are lost, so run the notebook from the top.
// - End a `for` loop on a cell's last line with a semicolon, `};`, and write no `?` outside of functions.
//
// ### ★ Open
//
// Draw the alphas of a schedule of your own, `|t| …`, into the chart above. Which of its properties did you have to think of? (Notebook 02 has a list.)
//
// ## You can now
//
// - run cells, print values, draw a chart, and read what the compiler says;
// - tell a loan, a gift and a copy apart;
// - solve an exercise, ask for hints, and see your score, below.
//
// **In the paper** (Ho, Jain and Abbeel 2020, *Denoising diffusion probabilistic models*): Figure 1, which is where we are going; Figure 2, the two chains; the abstract. Don't worry if you don't follow it yet.

// %%
println!("{}", check::score());
