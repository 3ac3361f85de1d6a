use super::kernel::{Point, Product, Rows};
use super::simd::Simd;
use super::transposed::{Segment, TransposedProduct};
use super::*;
use crate::rng::{normal, stream};
use ndarray::s;
use proptest::prelude::*;

/// Around the edges of every tile: rows by 4, 6 and 8, columns by 8, 16 and 32, blocks of a transpose by 16.
const SIZES: [usize; 16] = [0, 1, 2, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 65];

fn random(m: usize, n: usize, seed: u64) -> Tensor2 {
    normal((m, n), &mut stream(seed, 0))
}

/// The instruction sets of this CPU.
fn levels() -> Vec<Simd> {
    [Simd::Portable, Simd::Avx2, Simd::Avx512].into_iter().filter(|simd| simd.available()).collect()
}

/// Panics unless `c = a b` up to rounding: a sum of `k` products is exact to `k` units of the last place of `Σ |a b|`,
/// in whatever order it is formed.
#[track_caller]
fn assert_product(c: &ArrayRef2<f32>, a: &ArrayRef2<f32>, b: &ArrayRef2<f32>) {
    let (want, size) = (definition(a, b), definition(&a.mapv(f32::abs), &b.mapv(f32::abs)));
    assert_eq!(c.dim(), want.dim());
    let unit = (a.ncols() + 1) as f32 * f32::EPSILON;
    for ((at, &c), (&want, &size)) in c.indexed_iter().zip(want.iter().zip(&size)) {
        assert!((c - want).abs() <= unit * size, "{:?} times {:?} at {at:?}: {c}, {want}", a.dim(), b.dim());
    }
}

#[test]
fn all_forms_are_the_definition_at_every_edge() {
    for m in SIZES {
        for k in SIZES {
            for n in SIZES {
                let (a, b) = (random(m, k, 1), random(k, n, 2));
                let c = matmul(&a, &b);
                assert_product(&c, &a, &b);
                // the other forms read the same numbers from other places
                assert_eq!(matmul_nt(&a, &b.t().as_standard_layout()), c);
                assert_eq!(matmul_tn(&a.t().as_standard_layout(), &b), c);
            }
        }
    }
}

/// Depths of more than one block, and more rows than one block, packed (n = 20) and in place (n = 32).
#[test]
fn large_products_are_the_definition() {
    for (m, k, n) in [(3, 512, 20), (9, 513, 20), (2, 1025, 32), (7, 1600, 8), (257, 40, 20), (300, 700, 70)]
    {
        let (a, b) = (random(m, k, 1), random(k, n, 2));
        assert_product(&matmul(&a, &b), &a, &b);
    }
}

#[test]
fn views_with_gaps_and_reversed_axes() {
    let (a, b) = (random(40, 60, 1), random(60, 50, 2));
    for (a, b) in [
        (a.slice(s![..;2, 3..40]), b.slice(s![1..38, ..])),
        (a.slice(s![..;-1, ..]), b.slice(s![.., ..;3])),
        (a.slice(s![.., ..;-2]), b.slice(s![..;-2, 5..6])),
        (b.t(), a.t()),
        (a.slice(s![7..7, ..]), b.view()),
    ] {
        assert_product(&matmul(&a, &b), &a, &b);
    }
}

/// What stood in C is never read but by `Accumulate`: NaN would spread.
#[test]
fn c_begins_as_init_says() {
    for (m, k, n) in [(1, 0, 3), (7, 0, 16), (5, 3, 7), (9, 17, 32), (13, 600, 33), (300, 5, 40)] {
        let (a, b) = (random(m, k, 1), random(k, n, 2));
        let product = matmul(&a, &b);
        let run = |init, mut c: Tensor2| {
            product_into(a.view(), b.view(), init, c.as_slice_mut().unwrap());
            c
        };
        let nan = Tensor2::from_elem((m, n), f32::NAN);
        assert_eq!(run(Initial::ZERO, nan.clone()), product);

        let bias = random(1, n, 3);
        let tolerance = 1e-5 * (k + 1) as f32;
        let close = |c: Tensor2, want: Tensor2| (c - want).iter().all(|d| d.abs() < tolerance);
        assert!(close(run(Initial::bias(bias.as_slice().unwrap()), nan), &product + &bias));
        let before = random(m, n, 4);
        assert!(close(run(Initial::ACCUMULATE, before.clone()), &product + &before));
    }
}

/// AVX2 and AVX-512 agree to the bit; the portable kernel rounds twice per step where it has no FMA.
#[test]
fn every_instruction_set_gives_the_same_product() {
    for (m, k, n) in [(1, 1, 1), (13, 40, 33), (9, 600, 8), (9, 700, 24), (17, 1100, 48), (7, 0, 5)] {
        let (a, b) = (random(m, k, 1), random(k, n, 2));
        let on = |simd| {
            let mut c = Tensor2::from_elem((m, n), f32::NAN);
            let (a, b) = (a.as_slice().unwrap(), b.as_slice().unwrap());
            blocked::product(simd, (m, k, n), a, b, Initial::ZERO, c.as_slice_mut().unwrap());
            c
        };
        for &simd in &levels() {
            assert_product(&on(simd), &a, &b);
        }
        if Simd::Avx512.available() {
            assert_eq!(on(Simd::Avx2), on(Simd::Avx512), "[{m}, {k}] times [{k}, {n}]");
        }
    }
}

/// Rows that overlap and begin before A, several taps, some missing, several images, a C with gaps, a bias for each
/// image: what a convolution asks of the kernel.
#[test]
fn taps_images_and_gaps_on_every_instruction_set() {
    let (k, n, ldb, ldc, images, a_stride) = (5, 19, 32, 23, 3, 40);
    let a = random(1, 300, 1).into_raw_vec_and_offset().0;
    let taps = [0, 4, 60, -3];
    let starts = [(-4, 0b0110), (3, 0b1111), (50, 0b0001), (7, 0b1000), (90, 0), (91, 0b0101), (92, 0b1111)];
    let c_stride = starts.len() * ldc;
    // C has the points in the opposite order
    let point = |(p, &(a, taps)): (usize, &(isize, u64))| Point { a, c: (starts.len() - 1 - p) * ldc, taps };
    let points: Vec<Point> = starts.iter().enumerate().map(point).collect();
    let rows = Rows { points: &points, images, a_stride, c_stride };
    let (b, bias) = (random(taps.len() * k, ldb, 2), random(images, n, 3));
    let b = b.as_slice().unwrap();
    for (simd, accumulate) in levels().into_iter().flat_map(|simd| [(simd, false), (simd, true)]) {
        let before = if accumulate { 2.0 } else { f32::NAN };
        let mut c = vec![before; images * c_stride];
        let init = Initial { bias: Some((bias.as_slice().unwrap(), n)), accumulate };
        Product { a: &a, rows, taps: &taps, k, b, ldb, n, init }.run_on(simd, &mut c);
        for (image, point) in (0..images).flat_map(|image| points.iter().map(move |p| (image, p))) {
            let row = &c[image * c_stride + point.c..][..ldc];
            for (j, &c) in row[..n].iter().enumerate() {
                let mut want = bias[[image, j]] + if accumulate { before } else { 0.0 };
                for t in (0..taps.len()).filter(|t| point.taps >> t & 1 == 1) {
                    let first = (point.a + taps[t]) as usize + image * a_stride;
                    want += (0..k).map(|r| a[first + r] * b[(t * k + r) * ldb + j]).sum::<f32>();
                }
                assert!((c - want).abs() < 1e-5, "{simd:?}: {c} instead of {want}");
            }
            let untouched = |gap: &f32| gap.to_bits() == before.to_bits();
            assert!(row[n..].iter().all(untouched), "{simd:?} wrote between the rows");
        }
    }
}

/// Several segments, gaps in A, B and C, and every number of columns of A around the tiles' 3, 6 and 11.
#[test]
fn segments_and_gaps_on_every_instruction_set() {
    let (n, ldb, ldc) = (19, 32, 23);
    for (m, simd) in (1..25).flat_map(|m| levels().into_iter().map(move |simd| (m, simd))) {
        let (lda, segments) = (m + 2, [(0, 0, 3), (7, 5, 4), (20, 9, 1), (2, 10, 0)]);
        let (a, b) = (random(30, lda, 1), random(12, ldb, 2));
        let (a, b) = (a.as_slice().unwrap(), b.as_slice().unwrap());
        let at = |(i, j, len)| Segment { a: i * lda + 1, b: j * ldb, len };
        let segments = segments.map(at);
        let mut c = vec![0.5; m * ldc];
        TransposedProduct { a, lda, m, b, ldb, n, segments: &segments }.run_on(simd, &mut c, ldc);
        for (r, row) in c.chunks(ldc).enumerate() {
            for (j, &c) in row[..n].iter().enumerate() {
                let term = |s: &Segment| -> f32 {
                    (0..s.len).map(|k| a[s.a + k * lda + r] * b[s.b + k * ldb + j]).sum()
                };
                let want = 0.5 + segments.iter().map(term).sum::<f32>();
                assert!((c - want).abs() < 1e-5, "{simd:?}, {m} columns: {c} instead of {want}");
            }
            assert!(row[n..].iter().all(|&gap| gap == 0.5), "{simd:?} wrote between the rows");
        }
        if simd == Simd::Avx512 {
            let mut other = vec![0.5; m * ldc];
            TransposedProduct { a, lda, m, b, ldb, n, segments: &segments }.run_on(
                Simd::Avx2,
                &mut other,
                ldc,
            );
            assert_eq!(c, other, "AVX2 and AVX-512 agree to the bit");
        }
    }
}

#[test]
fn the_instruction_set_is_chosen_or_refused() {
    let all = |_: Simd| true;
    let none = |simd| simd == Simd::Portable;
    assert_eq!(Simd::choose(None, all).unwrap(), Simd::Avx512);
    assert_eq!(Simd::choose(None, |simd| simd != Simd::Avx512).unwrap(), Simd::Avx2);
    assert_eq!(Simd::choose(None, none).unwrap(), Simd::Portable);
    for (name, simd) in [("portable", Simd::Portable), ("avx2", Simd::Avx2), ("avx512", Simd::Avx512)] {
        assert_eq!(Simd::choose(Some(name), all).unwrap(), simd);
    }
    let error = |asked| Simd::choose(Some(asked), none).unwrap_err().to_string();
    assert_eq!(error("sse9"), "DDPM_SIMD: expected portable, avx2 or avx512, found 'sse9'");
    assert_eq!(error(""), "DDPM_SIMD: expected portable, avx2 or avx512, found ''");
    assert_eq!(error("avx2"), "DDPM_SIMD: expected an instruction set of this CPU, found Avx2");
}

#[test]
fn transposes_of_any_shape_and_row_length() {
    for rows in SIZES {
        for columns in SIZES {
            let (ldx, ldo) = (columns + 3, rows + 2);
            let x = random(rows, ldx, 1);
            let mut out = vec![f32::NAN; columns * ldo];
            // as many columns as fit into `out`: the last three of x are left
            transpose(x.as_slice().unwrap(), ldx, &mut out, ldo);
            for (at, &got) in out.iter().enumerate() {
                let (j, i) = (at / ldo, at % ldo);
                if i < rows { assert_eq!(got, x[[i, j]]) } else { assert!(got.is_nan(), "wrote into a gap") }
            }
        }
    }
}

#[test]
#[should_panic(expected = "matmul: [2, 3] times [4, 5]: the inner sizes differ")]
fn inner_sizes_must_agree() {
    matmul(&random(2, 3, 1), &random(4, 5, 1));
}

#[test]
#[should_panic(expected = "definition: [2, 3] times [2, 3]: the inner sizes differ")]
fn inner_sizes_of_the_definition_must_agree() {
    definition(&random(2, 3, 1), &random(2, 3, 1));
}

#[test]
#[should_panic(expected = "matmul: C has 5 numbers, [2, 3] needed")]
fn c_must_fit() {
    product_into(random(2, 1, 1).view(), random(1, 3, 1).view(), Initial::ZERO, &mut [0.0; 5]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn any_shape_is_the_definition(m in 0usize..70, k in 0usize..600, n in 0usize..80, seed: u64) {
        let (a, b) = (random(m, k, seed), random(k, n, seed ^ 1));
        assert_product(&matmul(&a, &b), &a, &b);
    }
}

/// Every chain runs its steps on every instruction set: from 0.5 towards a / (1 − b) = 1.
#[test]
fn the_yardstick_multiplies_and_adds() {
    for simd in levels() {
        let (flops, once) = peak::on(simd, 1);
        assert!((once - (0.5 * 0.999 + 0.001)).abs() < 1e-6, "{simd:?}: {once}");
        let (more, end) = peak::on(simd, 50_000);
        assert_eq!(more, 50_000 * flops);
        assert!((end - 1.0).abs() < 1e-3, "{simd:?}: {end}");
    }
}
