use super::kernel::{Product, Simd};
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
        assert_eq!(run(Init::Zero, nan.clone()), product);

        let bias = random(1, n, 3);
        let tolerance = 1e-5 * (k + 1) as f32;
        let close = |c: Tensor2, want: Tensor2| (c - want).iter().all(|d| d.abs() < tolerance);
        assert!(close(run(Init::Bias(bias.as_slice().unwrap()), nan), &product + &bias));
        let before = random(m, n, 4);
        assert!(close(run(Init::Accumulate, before.clone()), &product + &before));
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
            blocked::product(simd, (m, k, n), a, b, Init::Zero, c.as_slice_mut().unwrap());
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

/// Rows that overlap, several taps, a C with gaps: what a convolution asks of the kernel.
#[test]
fn taps_and_gaps_on_every_instruction_set() {
    let (k, n, ldb, ldc) = (5, 19, 32, 23);
    let a = random(1, 200, 1).into_raw_vec_and_offset().0;
    let (starts, taps) = ([0, 3, 50, 7, 90, 91, 92, 120, 130], [0, 4, 60]);
    let b = random(taps.len() * k, ldb, 2);
    for simd in levels() {
        let mut c = vec![f32::NAN; starts.len() * ldc];
        let b = b.as_slice().unwrap();
        Product { a: &a, starts: &starts, taps: &taps, k, b, ldb, n, init: Init::Zero }
            .run_on(simd, &mut c, ldc);
        for (row, &start) in c.chunks(ldc).zip(&starts) {
            for (j, &c) in row[..n].iter().enumerate() {
                let terms = (0..taps.len() * k).map(|r| a[start + taps[r / k] + r % k] * b[r * ldb + j]);
                let want: f32 = terms.sum();
                assert!((c - want).abs() < 1e-5, "{simd:?}: {c} instead of {want}");
            }
            assert!(row[n..].iter().all(|gap| gap.is_nan()), "{simd:?} wrote between the rows");
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
    product_into(random(2, 1, 1).view(), random(1, 3, 1).view(), Init::Zero, &mut [0.0; 5]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn any_shape_is_the_definition(m in 0usize..70, k in 0usize..600, n in 0usize..80, seed: u64) {
        let (a, b) = (random(m, k, seed), random(k, n, seed ^ 1));
        assert_product(&matmul(&a, &b), &a, &b);
    }
}
