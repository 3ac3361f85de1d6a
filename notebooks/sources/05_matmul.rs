// %% [markdown]
// # 05 Tensors and a fast matmul
//
// **You will be able to** say where a number of a tensor lies in memory, why three plain loops waste 99 % of a CPU, and why a convolution is a matrix product.
//
// **Before:** notebook 00. **Time:** 80 minutes. **Figure:** the speed of four matrix products, and the line that none can cross.
//
// From here to notebook 07 we build what a diffusion model spends its time on. The speeds in the text are those of the machine on which the outputs below were made; yours will differ, the ratios much less.

// %%
:dep ddpm = { package = "ddpm-notebook", path = "kernel" }
use ddpm::prelude::*;
ddpm::start();

// %%
let model = checkpoint::shipped().unwrap();
let forward = model.unet.flops(28, 28) as f64;
println!("one look at one image: {:.1} million operations; 1000 steps: {:.0} billion", forward / 1e6, forward / 1e6);

// %% [markdown]
// That is the shipped network. An **operation** is one multiplication or one addition of `f32` numbers ("FLOP", floating-point operation), a speed is in GFLOP/s, $10^9$ of them per second. Nearly all of them belong to matrix products. Whether an image takes seconds or minutes is decided here.
//
// ## A tensor is a list and a shape
//
// Memory is one long line of numbers. A tensor of shape $[2,3,4]$ is 24 of them in a row and a rule to find one: in **row-major** order the last axis runs fastest, so that
//
// $$\text{place of } [i,j,k] = 12\,i + 4\,j + 1\,k .$$
//
// The factors are the **strides**: how far apart two neighbours along an axis lie.

// %%
let x = Array3::from_shape_fn((2, 3, 4), |(i, j, k)| 100 * i + 10 * j + k);
println!("in memory {:?}", x.as_slice().unwrap());
println!("strides {:?}", x.strides());
println!("strides of its transpose {:?}, shape {:?}", x.t().strides(), x.t().shape());

// %% [markdown]
// *What to see:* a transpose moves no number, it only reads the strides backwards. That makes it free, and makes the memory of a transposed tensor *not* row-major, which has fooled many a fast routine.
//
// Our images are $[N, H, W, C]$: image, line, column, channel. The channels of one pixel lie side by side.
//
// ### Exercise 5.1 (code): strides

// %% tags=["exercise"]
/// The strides of a row-major tensor of this shape, in numbers.
fn strides(shape: &[usize]) -> Vec<usize> {
    todo!()
}

// %% tags=["check"]
check::strides(strides)

// %% [markdown]
// ## The product, and the speed limit
//
// For $A\,[m,k]$ and $B\,[k,n]$,
//
// $$C_{ij} = \sum_{l=1}^{k} A_{il}\,B_{lj},$$
//
// $m\,n$ sums of $k$ terms, a multiplication and an addition each: $2\,m\,k\,n$ operations. The crate keeps this formula as three loops, `definition`; every fast version is tested against it.
//
// How fast could it be? A modern core works on **vectors**, 8 or 16 `f32` at a time (SIMD, *single instruction, multiple data*), and has an instruction that multiplies and adds in one (FMA). A loop that does nothing but that, on numbers that never leave the registers, shows the machine's peak. No product can be faster.
//
// **Predict:** what share of the peak do the three loops reach: a half, a tenth, a hundredth?

// %% tags=["predict"]
check::predict("The three loops reach", &["a half of the peak", "a tenth", "a hundredth"], 0)

// %% tags=["timing"]
use ddpm::matmul::{definition, matmul, peak::multiply_add, simd::simd};
use std::hint::black_box;
fn square(n: usize, seed: u64) -> Array2<f32> { normal((n, n), &mut stream(seed, n as u64)) }
fn speed(product: fn(&Array2<f32>, &Array2<f32>) -> Array2<f32>, n: usize) -> f64 {
    let (a, b) = (square(n, 1), square(n, 2));
    gflops(2.0 * (n * n * n) as f64, || { black_box(product(black_box(&a), black_box(&b))); })
}
let peak = gflops(multiply_add(10_000) as f64, || { black_box(multiply_add(10_000)); });
let loops = speed(|a, b| definition(a, b), 256);
println!("peak of one core ({:?}): {peak:.0} GFLOP/s", simd());
println!("three loops, 256 × 256: {loops:.2} GFLOP/s, {:.1} % of it", 100.0 * loops / peak);
println!("1000 steps for one image: {:.0} minutes with three loops, {:.0} seconds at the peak", forward / 1e6 / loops / 60.0, forward / 1e6 / peak);

// %% [markdown]
// `gflops` runs its work several times and keeps the fastest: whatever else the machine does can only slow it down.
//
// ## Where the time goes
//
// Not into arithmetic. Memory comes in **cache lines** of 64 bytes, 16 `f32`: who asks for one number gets its 15 neighbours along. The inner loop over $l$ walks *down a column* of $B$, and each step lands in another line. With $l$ and $j$ exchanged the inner loop runs along a *row* of $B$ and a row of $C$. Here are the first reads of $B\,[16,16]$ in both orders:

// %%
let step: Vec<f64> = (0..64).map(|s| s as f64).collect();
let down: Vec<f64> = (0..64).map(|s| (s % 16 * 16 + s / 16) as f64).collect();
Chart::new("step of the inner loop", "place in memory that is read")
    .points("i, j, l: down a column", &step, &down)
    .points("i, l, j: along a row", &step, &step)
    .figure()

// %% [markdown]
// *What to see:* blue touches a new line of 16 numbers at every step; vermilion touches one, uses all of it, and goes on to the next. There is a second gain: in the order $i, l, j$ the inner loop does the same to 16 neighbours at once, so that the compiler turns it into vector instructions by itself. In the order $i, j, l$ it may not: all terms go into one sum, and it would have to change the order of additions.
//
// ### Exercise 5.2 (code): a product with the loops exchanged
//
// Row $i$ of $C$ is a sum of rows of $B$, $C_i = \sum_l A_{il}\,B_l$. Write it so that the inner loop runs over two slices. It must be right for all sizes, and for arrays that lie transposed in memory: the first cell below your function says whether it is, the second how fast it is. Five times the three loops is a pass, ten times is easy.

// %% tags=["exercise"]
/// C = A B.
fn fast_matmul(a: &Array2<f32>, b: &Array2<f32>) -> Array2<f32> {
    todo!()
}

// %% tags=["check"]
check::fast_matmul(fast_matmul)

// %% tags=["timing"]
println!("{}", check::times_faster(fast_matmul));

// %% [markdown]
// ## Keep the sums in registers
//
// The exchanged loops still load a vector of $B$, load one of $C$ and store it again for each vector of multiply-adds: three trips to memory per useful instruction. The cure is to compute a whole **tile** of $C$, 4 rows × 16 columns, before any of it is stored. Its 64 sums fit into 8 vector registers of 8 numbers, half of what the smallest CPU with such vectors has. Each step of $l$ then loads 16 numbers of $B$ and 4 of $A$, and does 64 multiply-adds with them.

// %%
fn multiply_then_add(a: f32, b: f32, c: f32) -> f32 { if cfg!(target_feature = "fma") { a.mul_add(b, c) } else { a * b + c } }
fn tile(rows: [&[f32]; 4], b: &[f32], n: usize, j: usize) -> [[f32; 16]; 4] {
    let mut sums = [[0.0; 16]; 4];
    for l in 0..rows[0].len() {
        let b: &[f32; 16] = b[l * n + j..][..16].try_into().unwrap();
        for i in 0..4 {
            for c in 0..16 {
                sums[i][c] = multiply_then_add(rows[i][l], b[c], sums[i][c]);
            }
        }
    }
    sums
}

// %% [markdown]
// No intrinsics, no `unsafe`: fixed sizes are enough for the compiler to see that `sums` can live in registers. Around it, two loops over the tiles, for sizes that are multiples of 4 and 16:

// %% tags=["timing"]
fn tiled(a: &Array2<f32>, b: &Array2<f32>) -> Array2<f32> {
    let ((m, k), n) = (a.dim(), b.ncols());
    let (a, b) = (a.as_slice().unwrap(), b.as_slice().unwrap());
    let mut c = Array2::zeros((m, n));
    for j in (0..n).step_by(16) {
        for i in (0..m).step_by(4) {
            let sums = tile(std::array::from_fn(|r| &a[(i + r) * k..][..k]), b, n, j);
            c.slice_mut(s![i..i + 4, j..j + 16]).assign(&ndarray::arr2(&sums));
        }
    }
    c
}
fn exchanged(a: &Array2<f32>, b: &Array2<f32>) -> Array2<f32> {
    let mut c = Array2::zeros((a.nrows(), b.ncols()));
    for (a, mut c) in a.outer_iter().zip(c.outer_iter_mut()) {
        a.iter().zip(b.outer_iter()).for_each(|(&a, b)| c.scaled_add(a, &b));
    }
    c
}

// %%
let sizes = [32, 64, 128, 256];
let n = sizes.map(|n| n as f64);
Chart::new("n, for n × n matrices", "GFLOP/s")
    .scales(Scale::Log, Scale::Log)
    .line("three loops", &n, &sizes.map(|n| speed(|a, b| definition(a, b), n)))
    .line("exchanged", &n, &sizes.map(|n| speed(exchanged, n)))
    .line("tiled", &n, &sizes.map(|n| speed(tiled, n)))
    .line("the crate's", &n, &sizes.map(|n| speed(|a, b| matmul(a, b), n)))
    .reference("peak", &[32.0, 256.0], &[peak, peak])
    .figure()

// %% [markdown]
// *What to see:* both axes are logarithmic. The three loops are slow everywhere, and fall once $B$ outgrows the small caches. Exchanging two lines of code gains a factor of three at $n=32$ and of ten or more at 256; the tile another factor of about three. The crate's `matmul` is twice as fast again on the CPU of these pages: its kernel comes in one version per instruction set, chosen when the program starts, here with vectors of 16 numbers, where your cells are compiled for vectors of 8. (On a CPU that has no longer ones the two lie close together.) What it adds besides is what a real product needs: any size, any layout, large matrices cut into blocks that fit the caches. It stands in `src/matmul/kernel.rs`, and `ddpm bench --work matmul` measures it.
//
// ## The same numbers?
//
// Nearly. Floating-point addition rounds, so the order of a sum shows in its last digits. Vectors add in another order: 16 sums side by side, joined at the end. How far are both from the truth, for $k$ products of numbers from $[0,1)$?

// %%
fn rounding(k: usize, lanes: usize) -> f64 {
    let mut rng = stream(5, k as u64);
    let errors: Vec<f64> = (0..20).map(|_| {
        let products: Vec<f32> = (0..k).map(|_| rng.random::<f32>() * rng.random::<f32>()).collect();
        let mut sums = vec![0.0_f32; lanes];
        products.iter().enumerate().for_each(|(i, p)| sums[i % lanes] += p);
        let exact: f64 = products.iter().map(|&p| f64::from(p)).sum();
        (f64::from(sums.iter().sum::<f32>()) / exact - 1.0).powi(2)
    }).collect();
    (errors.iter().sum::<f64>() / 20.0).sqrt()
}
let k: Vec<f64> = (5..=18).map(|e| f64::from(1 << e)).collect();
let one: Vec<f64> = k.iter().map(|&k| rounding(k as usize, 1)).collect();
let sixteen: Vec<f64> = k.iter().map(|&k| rounding(k as usize, 16)).collect();
Chart::new("terms of the sum", "relative error").scales(Scale::Log, Scale::Log).line("one sum", &k, &one).line("16 sums", &k, &sixteen).figure()

// %% [markdown]
// *What to see:* the more terms, the more roundings; and the fast order is also the more exact one, as each of its sums is shorter. So tests must not ask for equal bits: they allow an error that grows with $k$, or use small whole numbers, whose sums are exact in any order. (The check of your product does the latter.)
//
// ## A convolution is a matrix product
//
// The network's main layer slides a small window over the image. With a $3\times3$ kernel $w\,[3,3,\text{in},\text{out}]$ and zeros outside,
//
// $$y_{ijo} = \sum_{u,v,c} x_{i+u-1,\;j+v-1,\;c}\;\, w_{uvco}.$$
//
// For one pixel this is a row of $9\cdot\text{in}$ numbers times a matrix $[9\cdot\text{in}, \text{out}]$. Seen the other way: each **tap** $(u,v)$ reads the whole image, shifted by a pixel.

// %%
let images = fashion_mnist_test().batch(&[0, 1, 2, 12]); // ankle boot, pullover, trousers, sneaker
let padded = Batch::from_shape_fn((4, 30, 30, 1), |(n, i, j, c)| {
    if (1..29).contains(&i) && (1..29).contains(&j) { images[[n, i - 1, j - 1, c]] } else { 0.0 }
});
let taps = Batch::from_shape_fn((9, 28, 28, 1), |(tap, i, j, c)| padded[[0, i + tap / 3, j + tap % 3, c]]);
Grid::new(&to_u8(&taps), 3).scale(4).figure()

// %% [markdown]
// *What to see:* nine copies, each a pixel further. The grey lines at the edge are the zeros from outside: on the scale $[-1,1]$ zero is grey, not black. Written as columns of a matrix, one row per pixel, these copies are called **im2col** (*image to columns*).
//
// ### Exercise 5.3 (code): im2col
//
// Row $i\,W+j$ is the window of pixel $(i,j)$; the column of tap $(u,v)$ and channel $c$ is $(u\,k+v)\,C+c$. The window of a $k\times k$ kernel (odd $k$) begins $k/2$ pixels up and left.

// %% tags=["exercise"]
/// The windows of an image [H, W, C] as rows: [H·W, k·k·C], zeros outside.
fn im2col(x: &Array3<f64>, k: usize) -> Array2<f64> {
    todo!()
}

// %% tags=["check"]
check::im2col(im2col)

// %% [markdown]
// One product then computes all pixels and all output channels. Below are four kernels written by hand, a mean, two edges and a sharpener, as one matrix $[9, 4]$, and the crate's `Conv2d` with the same weights beside it.

// %%
use ddpm::nn::Conv2d;
let kernels: Array2<f64> = array![
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], // mean
    [-1.0, 0.0, 1.0, -2.0, 0.0, 2.0, -1.0, 0.0, 1.0], // left to right
    [-1.0, -2.0, -1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 1.0], // top to bottom
    [0.0, -4.0, 0.0, -4.0, 24.0, -4.0, 0.0, -4.0, 0.0], // sharpen
] / array![[9.0], [4.0], [4.0], [8.0]];
let columns = Array2::from_shape_fn((4 * 784, 9), |(pixel, tap)| {
    padded[[pixel / 784, pixel / 28 % 28 + tap / 3, pixel % 28 + tap % 3, 0]]
});
let y = columns.dot(&kernels.t()); // [pixels of all images, 4]

let mut conv = Conv2d::new(1, 4, 3, 1.0, &mut stream(5, 0));
conv.weight = Tensor4::from_shape_fn((3, 3, 1, 4), |(u, v, _, o)| kernels[[o, 3 * u + v]] as f32);
let same = conv.infer(&images.mapv(|x| x as f32));
assert!(same.iter().zip(&y).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5));
let shown = Batch::from_shape_fn((20, 28, 28, 1), |(cell, i, j, _)| {
    let (image, column) = (cell / 5, cell % 5);
    if column == 0 { images[[image, i, j, 0]] } else { y[[784 * image + 28 * i + j, column - 1]] }
});
Grid::new(&to_u8(&shown), 5).column_labels(["image", "mean", "left to right", "top to bottom", "sharpen"]).scale(4).figure()

// %% [markdown]
// *What to see:* the second kernel answers to brightness that changes from left to right, the third from top to bottom: bright where it rises, dark where it falls. A network learns such kernels itself, 128 at a time, and each reads all the channels of the layer before. The edge of the picture stands out because there the black garment's surroundings meet the zeros from outside.
//
// ### Exercise 5.4 (code): convolution
//
// You may call your `im2col`.

// %% tags=["exercise"]
/// The convolution of x [H, W, in] with w [k, k, in, out]: [H, W, out].
fn conv_by_matmul(x: &Array3<f64>, w: &Array4<f64>) -> Array3<f64> {
    todo!()
}

// %% tags=["check"]
check::conv_by_matmul(conv_by_matmul)

// %% [markdown]
// im2col has a price: every pixel is stored nine times. The crate therefore never builds that matrix. Its kernel reads the same rows straight from the image, tap by tap, and adds all nine products into one tile of registers: the same sum, without the copies.
//
// ## Why batches
//
// The last question is one of shape. Multiply $m$ rows with a fixed matrix $[256, 256]$.
//
// **Predict:** is one row (one image's time embedding, say) computed at the same speed, in GFLOP/s, as 256 of them?

// %% tags=["predict"]
check::predict("One row, beside 256", &["at the same GFLOP/s", "at far fewer", "at more"], 0)

// %% tags=["timing"]
let b = square(256, 2);
let m: Vec<f64> = (0..=8).map(|e| f64::from(1 << e)).collect();
let speeds: Vec<f64> = m.iter().map(|&m| {
    let a: Array2<f32> = normal((m as usize, 256), &mut stream(5, 9));
    gflops(2.0 * m * 65536.0, || { black_box(matmul(black_box(&a), &b)); })
}).collect();
Chart::new("rows m", "GFLOP/s").scales(Scale::Log, Scale::Log).line("[m, 256] times [256, 256]", &m, &speeds).reference("peak", &[1.0, 256.0], &[peak, peak]).figure()

// %% [markdown]
// *What to see:* a steep rise up to about eight rows, then a plateau. One row must read all 65,536 numbers of $B$ for two operations with each; eight rows share that reading, since they ride in the same tile of the crate's kernel, which has eight rows here. This is why networks are trained and sampled in batches, and why a convolution, where each pixel of each image is a row, is fast even for one image.
//
// ### Exercise 5.5 (guess): count
//
// To know whether a program is fast one must know how much it has to do.

// %%
check::task("conv_gflop")

// %% tags=["exercise"]
/// The layer's operations, in billions.
fn conv_gflop() -> f64 {
    todo!()
}

// %% tags=["check"]
check::conv_gflop(conv_gflop)

// %% [markdown]
// Back to the question at the top: how near does the crate come? On a CPU with a peak of 115 GFLOP/s, where 607.5 million operations are 5.3 ms, one step took it 6.7 ms for a single image and 4.9 ms per image in batches of 64 (`benches/README.md`). *Below* the limit? For 3×3 convolutions it uses Winograd's algorithm, which needs 2.25 times fewer multiplications. The peak limits operations, not ideas.
//
// ### ★ Open
//
// Make `tiled` faster: another tile, another order, `unsafe` not allowed. How near to the crate's do you come, and what limits you?
//
// ## You can now
//
// - find a number of a tensor in memory, and say what a transpose costs;
// - measure a product against the machine's peak, and speed it up by order, vectors and registers;
// - turn a convolution into a product, and count its operations.
//
// **In the paper:** appendix B (the network, made of 3×3 convolutions, and the hours its training took on eight TPU cores), section 4 (T = 1000: what a sample costs), section 4.3 (why one may want to stop early).

// %%
println!("{}", check::score());
