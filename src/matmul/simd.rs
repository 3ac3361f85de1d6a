//! Which instruction set to use: detected once, or asked for.

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

/// Defines a function of element-wise loops that is compiled once for each instruction set.
///
/// The compiler vectorises plain Rust, but only for the instruction set of the function it stands in. So the body
/// becomes an inlined part of one function for each, and the one for [`simd`] is called. Loops should be plain loops:
/// a large closure may stay a function of its own, compiled for the oldest CPU of the target. They use no fused
/// multiply-add, so that every instruction set gives the same bits.
macro_rules! vectorized {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$(const $C:ident: $T:ty),+>)? ($($arg:ident: $ty:ty),* $(,)?)
     $(-> $out:ty)? $body:block) => {
        $(#[$meta])*
        #[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "calls what is compiled for the CPU at hand"))]
        $vis fn $name $(<$(const $C: $T),+>)? ($($arg: $ty),*) $(-> $out)? {
            #[inline(always)]
            fn body $(<$(const $C: $T),+>)? ($($arg: $ty),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2 $(<$(const $C: $T),+>)? ($($arg: $ty),*) $(-> $out)? {
                body $(::<$($C),+>)? ($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2")]
            fn avx512 $(<$(const $C: $T),+>)? ($($arg: $ty),*) $(-> $out)? {
                body $(::<$($C),+>)? ($($arg),*)
            }

            match $crate::matmul::simd::simd() {
                // SAFETY: `simd()` returned this variant, so `Simd::available` has seen AVX2 on this CPU.
                #[cfg(target_arch = "x86_64")]
                $crate::matmul::simd::Simd::Avx2 => unsafe { avx2 $(::<$($C),+>)? ($($arg),*) },
                // SAFETY: `simd()` returned this variant, so `Simd::available` has seen the AVX-512 features.
                #[cfg(target_arch = "x86_64")]
                $crate::matmul::simd::Simd::Avx512 => unsafe { avx512 $(::<$($C),+>)? ($($arg),*) },
                _ => body $(::<$($C),+>)? ($($arg),*),
            }
        }
    };
}

pub(crate) use vectorized;
