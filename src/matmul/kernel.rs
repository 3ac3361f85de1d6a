//! The micro-kernel, and the only `unsafe` of the crate.
//!
//! Everything heavy here is *rows times a matrix*: a linear layer, attention, a 1×1 convolution, and, with nine
//! shifted rows sharing one accumulator, a 3×3 convolution. So there is one kernel,
//!
//! ```text
//! C[p, j] = init + Σ_τ Σ_k  A[start_p + tap_τ + k] · B[τ·K + k, j]
//! ```
//!
//! where row `p` of A begins at `start_p` and is read once per tap. A matrix product has one tap, at 0.
//!
//! A tile of `MR` rows × `NV` vectors of `L` lanes stays in registers while `k` runs; every step loads `NV`
//! vectors of B, broadcasts `MR` numbers of A, and does `MR·NV` fused multiply-adds. The body is plain Rust over
//! fixed arrays; compiled once per instruction set it reaches over 90 % of the FMA peak. Four habits keep LLVM on
//! that path (measured; without any one of them it is ten to thirty times slower): A, B and C are arguments of the
//! function that is compiled per instruction set, so that the compiler knows they don't overlap; A is read through
//! `MR` separate row slices; B by index rather than by iterator; and the accumulator is only touched with constant
//! indices.
//!
//! Each output sums over `k` in the same order in every version, with one rounding per step under FMA. AVX2 and
//! AVX-512 therefore agree to the bit.

use crate::error::{Error, Result};
use std::sync::OnceLock;

/// The instruction sets the kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simd {
    /// What every CPU of the target has: SSE2 on x86-64, NEON on aarch64.
    Portable,
    /// 256-bit vectors and fused multiply-add (x86-64, since about 2013).
    Avx2,
    /// 512-bit vectors.
    Avx512,
}

impl Simd {
    /// The best instruction set of this CPU, or the one that `DDPM_SIMD=portable|avx2|avx512` asks for.
    ///
    /// # Errors
    /// The value of `DDPM_SIMD` is unknown, or this CPU lacks what it asks for.
    pub fn detect() -> Result<Simd> {
        let asked = std::env::var_os("DDPM_SIMD");
        Simd::choose(asked.as_ref().map(|asked| asked.to_string_lossy()).as_deref(), Simd::available)
    }

    /// What is asked for, or else the best, among the `available` ones.
    pub(super) fn choose(asked: Option<&str>, available: impl Fn(Simd) -> bool) -> Result<Simd> {
        let simd = match asked {
            None => {
                return Ok([Simd::Avx512, Simd::Avx2]
                    .into_iter()
                    .find(|&s| available(s))
                    .unwrap_or(Simd::Portable));
            }
            Some("portable") => Simd::Portable,
            Some("avx2") => Simd::Avx2,
            Some("avx512") => Simd::Avx512,
            Some(other) => {
                return Err(Error::argument("DDPM_SIMD", "portable, avx2 or avx512", format!("'{other}'")));
            }
        };
        match available(simd) {
            true => Ok(simd),
            false => Err(Error::argument("DDPM_SIMD", "an instruction set of this CPU", format!("{simd:?}"))),
        }
    }

    /// Whether this CPU can run it.
    pub fn available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            match self {
                Simd::Portable => true,
                Simd::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
                Simd::Avx512 => {
                    Simd::Avx2.available()
                        && is_x86_feature_detected!("avx512f")
                        && is_x86_feature_detected!("avx512vl")
                        && is_x86_feature_detected!("avx512dq")
                        && is_x86_feature_detected!("avx512bw")
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Simd::Portable
        }
    }

    /// How many columns of B a vector block holds: B's row length must be a multiple of it.
    pub(crate) fn lanes(self) -> usize {
        if self == Simd::Avx512 { 16 } else { 8 }
    }
}

/// The instruction set in use, decided once.
///
/// # Panics
/// If `DDPM_SIMD` asks for what is not there ([`Simd::detect`] says so as an error).
pub fn simd() -> Simd {
    static CHOICE: OnceLock<Simd> = OnceLock::new();
    *CHOICE.get_or_init(|| Simd::detect().unwrap_or_else(|e| panic!("{e}")))
}

/// What the accumulator is added to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Init<'a> {
    /// `C = A B`; what stood in C is never read
    Zero,
    /// `C = A B + bias`, the same bias `[n]` for every row
    Bias(&'a [f32]),
    /// `C += A B`
    Accumulate,
}

impl<'a> Init<'a> {
    /// The same for the columns from `j` on.
    #[inline(always)]
    pub(crate) fn from(self, j: usize) -> Init<'a> {
        match self {
            Init::Bias(bias) => Init::Bias(&bias[j..]),
            other => other,
        }
    }
}

/// Rows times a matrix; see the module's formula.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product<'a> {
    /// the numbers the rows are read from
    pub a: &'a [f32],
    /// where each row begins, one entry per row of C
    pub starts: &'a [usize],
    /// what is added to the beginning for each tap
    pub taps: &'a [usize],
    /// numbers per row and tap
    pub k: usize,
    /// `[taps · k, ldb]`; `ldb` is a multiple of [`Simd::lanes`] and at least `n`
    pub b: &'a [f32],
    /// row length of B
    pub ldb: usize,
    /// columns of C
    pub n: usize,
    /// what the product is added to
    pub init: Init<'a>,
}

impl Product<'_> {
    /// Computes the product into `c`, whose rows begin every `ldc` numbers.
    pub(crate) fn run(&self, c: &mut [f32], ldc: usize) {
        self.run_on(simd(), c, ldc);
    }

    /// [`run`](Product::run) on a given instruction set.
    ///
    /// # Panics
    /// If this CPU lacks it.
    pub(super) fn run_on(&self, simd: Simd, c: &mut [f32], ldc: usize) {
        assert!(simd.available(), "product: this CPU has no {simd:?}");
        let (a, b) = (self.a, self.b);
        match simd {
            // On x86-64 a separate multiply and add (SSE2 has no FMA) and 16 registers; NEON has both and 32.
            Simd::Portable if cfg!(target_arch = "aarch64") => product::<8, 1, 8, true>(a, b, c, ldc, self),
            Simd::Portable => product::<4, 1, 8, false>(a, b, c, ldc, self),
            // SAFETY: the assertion above: `Simd::available` has seen AVX2 and FMA on this CPU.
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => unsafe { product_avx2(a, b, c, ldc, self) },
            // SAFETY: the assertion above: `Simd::available` has seen the AVX-512 features.
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => unsafe { product_avx512(a, b, c, ldc, self) },
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("only x86-64 has more than the portable kernel"),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn product_avx2(a: &[f32], b: &[f32], c: &mut [f32], ldc: usize, p: &Product) {
    product::<6, 2, 8, true>(a, b, c, ldc, p);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
fn product_avx512(a: &[f32], b: &[f32], c: &mut [f32], ldc: usize, p: &Product) {
    product::<8, 2, 16, true>(a, b, c, ldc, p);
}

/// Column panels: as many full ones as fit, then single vectors.
#[inline(always)]
fn product<const MR: usize, const NV: usize, const L: usize, const FMA: bool>(
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    ldc: usize,
    p: &Product,
) {
    let mut j = 0;
    while j + NV * L <= p.n {
        panel::<MR, NV, L, FMA>(a, b, c, ldc, p, j);
        j += NV * L;
    }
    while j < p.n {
        panel::<MR, 1, L, FMA>(a, b, c, ldc, p, j);
        j += L;
    }
}

/// One column panel for all rows. The last tile repeats its last row instead of reading past the end.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // indices on purpose: the third and fourth of the module's habits
fn panel<const MR: usize, const NV: usize, const L: usize, const FMA: bool>(
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    ldc: usize,
    p: &Product,
    j: usize,
) {
    let (b, _) = b.as_chunks::<L>();
    let columns = (p.n - j).min(NV * L);
    for (first, starts) in p.starts.chunks(MR).enumerate().map(|(i, s)| (i * MR, s)) {
        let count = starts.len();
        let starts: [usize; MR] = std::array::from_fn(|i| starts[i.min(count - 1)]);
        let mut acc = [[[0.0f32; L]; NV]; MR];
        for (t, &tap) in p.taps.iter().enumerate() {
            let rows: [&[f32]; MR] = std::array::from_fn(|i| &a[starts[i] + tap..][..p.k]);
            let mut q = (t * p.k * p.ldb + j) / L;
            for k in 0..p.k {
                let b: &[[f32; L]; NV] = b[q..q + NV].try_into().expect("NV vectors");
                q += p.ldb / L;
                for i in 0..MR {
                    let a = rows[i][k];
                    for v in 0..NV {
                        for l in 0..L {
                            acc[i][v][l] = if FMA {
                                a.mul_add(b[v][l], acc[i][v][l])
                            } else {
                                a * b[v][l] + acc[i][v][l]
                            };
                        }
                    }
                }
            }
        }
        // A copy with constant indices: a run-time index into `acc` itself would send it to the stack.
        let mut tile = [[[0.0f32; L]; NV]; MR];
        for i in 0..MR {
            for v in 0..NV {
                tile[i][v] = acc[i][v];
            }
        }
        for (i, row) in tile.iter().take(count).enumerate() {
            let out = &mut c[(first + i) * ldc + j..][..columns];
            // whole vectors with a length the compiler knows, then what is left of the last one
            let (whole, rest) = out.as_chunks_mut::<L>();
            for (v, out) in whole.iter_mut().enumerate() {
                store(&row[v], p.init.from(j + v * L), out);
            }
            if let Some(last) = row.get(whole.len()) {
                store(&last[..rest.len()], p.init.from(j + whole.len() * L), rest);
            }
        }
    }
}

/// `c = init + acc`.
#[inline(always)]
fn store(acc: &[f32], init: Init, c: &mut [f32]) {
    match init {
        Init::Zero => c.copy_from_slice(acc),
        Init::Bias(bias) => c.iter_mut().zip(acc).zip(bias).for_each(|((c, &a), &b)| *c = a + b),
        Init::Accumulate => c.iter_mut().zip(acc).for_each(|(c, &a)| *c += a),
    }
}

/// Runs `f`, compiled for the widest vectors of this CPU.
///
/// For element-wise loops: the compiler vectorises plain Rust, but only for the instruction set of the function
/// it stands in. Mark what the closure calls `#[inline(always)]`. The loops use no fused multiply-add, so that
/// every instruction set gives the same bits.
#[inline]
pub(crate) fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    match simd() {
        // SAFETY: `simd()` returned this variant, so `Simd::available` has seen AVX2 on this CPU.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => unsafe { with_avx2(f) },
        // SAFETY: `simd()` returned this variant, so `Simd::available` has seen the AVX-512 features.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => unsafe { with_avx512(f) },
        _ => f(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2")]
fn with_avx512<R>(f: impl FnOnce() -> R) -> R {
    f()
}
