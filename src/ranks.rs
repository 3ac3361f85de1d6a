//! Processes that share the work of one: ranks 0 … R − 1, each with its own threads, on one machine or on many.
//!
//! All ranks run the same program on the same data. Where there is something to share, each computes its part and they
//! [exchange](Link) the results in pairs, so that all have the same numbers, to the bit those that one process computes alone:
//!
//! - In [training](crate::train) the groups of a batch. Their gradients are summed along one binary tree, whatever the number of
//!   ranks; a rank owns a branch. Adam moves the weights of every rank, in the same way.
//! - In sampling and in the bound the images of a batch, by [`Shared`], a denoiser like any other.
//!
//! Whatever carries the numbers is a [`Link`]: MPI (feature `mpi`), or channels between threads, in the tests.

use crate::diffusion::{Denoiser, Query};
use crate::error::{Error, Result};
use crate::tensor::Batch;
use ndarray::{Axis, Slice};
use std::fmt::{Debug, Display};
use std::ops::Range;
use std::sync::Arc;

#[cfg(feature = "mpi")]
pub mod mpi;

/// What carries numbers from one rank to another.
pub trait Link: Debug + Send + Sync {
    /// Sends `mine` to the rank `other`, which calls this with our number, and returns what it sends.
    fn exchange(&self, other: usize, mine: &[u8]) -> Vec<u8>;
}

/// The place of this process among those that share the work.
#[derive(Clone, Debug)]
pub struct Ranks {
    rank: usize,
    size: usize,
    link: Option<Arc<dyn Link>>,
}

impl Default for Ranks {
    fn default() -> Ranks {
        Ranks::alone()
    }
}

impl Ranks {
    /// One process that does everything itself.
    pub fn alone() -> Ranks {
        Ranks { rank: 0, size: 1, link: None }
    }

    /// Rank `rank` of `size`.
    ///
    /// # Errors
    /// `size` is not a power of two: the branches of the tree would not be shared out evenly.
    ///
    /// # Panics
    /// If there is no such rank.
    #[track_caller]
    pub fn new(rank: usize, size: usize, link: Arc<dyn Link>) -> Result<Ranks> {
        assert!(rank < size, "rank {rank} of {size}");
        match size.is_power_of_two() {
            true => Ok(Ranks { rank, size, link: Some(link) }),
            false => Err(Error::argument("ranks", "1, 2, 4, 8 or another power of two", size)),
        }
    }

    /// The number of this one, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether this one writes the files and speaks for all.
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }

    /// What `other` has, in exchange for `mine`.
    fn exchange(&self, other: usize, mine: &[u8]) -> Vec<u8> {
        self.link.as_ref().expect("a rank that is alone exchanges nothing").exchange(other, mine)
    }

    /// The same, of numbers.
    pub(crate) fn exchange_numbers<T: bytemuck::Pod>(&self, other: usize, mine: &[T]) -> Vec<T> {
        bytemuck::pod_collect_to_vec(&self.exchange(other, bytemuck::cast_slice(mine)))
    }

    /// What every rank has, in their order.
    ///
    /// Ranks that differ in one bit of their number exchange what they have so far, bit after bit: after log₂ R exchanges all
    /// have everything.
    pub fn all<T: bytemuck::Pod>(&self, mine: &[T]) -> Vec<Vec<T>> {
        let mut known = vec![mine.to_vec()];
        let mut first = self.rank; // of those that are known
        for bit in (0..self.size.trailing_zeros()).map(|b| 1 << b) {
            let other = self.rank ^ bit;
            let lengths: Vec<u64> = known.iter().map(|part| part.len() as u64).collect();
            let lengths = self.exchange_numbers(other, &lengths);
            let numbers = self.exchange_numbers(other, &known.concat());
            let mut rest = numbers.as_slice();
            let theirs = lengths.iter().map(|&length| {
                let (part, after) = rest.split_at(length as usize);
                rest = after;
                part.to_vec()
            });
            let theirs: Vec<Vec<T>> = theirs.collect();
            match other < self.rank {
                true => (known, first) = ([theirs, known].concat(), first & !bit),
                false => known.extend(theirs),
            }
        }
        debug_assert_eq!((first, known.len()), (0, self.size));
        known
    }

    /// Whether it holds for any rank.
    pub fn any(&self, here: bool) -> bool {
        self.all(&[u8::from(here)]).concat().contains(&1)
    }

    /// What a step that may fail has given; where it failed on another rank only, that rank's reason, so that none waits for
    /// one that has gone.
    ///
    /// # Errors
    /// This rank's own, or an [`Error::Rank`].
    pub fn agree<T, E: From<Error> + Display>(&self, result: Result<T, E>) -> Result<T, E> {
        let reason = result.as_ref().err().map(|e| format!("{e:#}")).unwrap_or_default();
        let reasons = self.all(reason.as_bytes());
        let failed = reasons.iter().position(|reason| !reason.is_empty());
        match (result, failed) {
            (Ok(_), Some(rank)) => {
                let reason = String::from_utf8_lossy(&reasons[rank]).into_owned();
                Err(Error::Rank { rank, reason }.into())
            }
            (result, _) => result,
        }
    }

    /// Whether all ranks do the same work, by facts about it such as `seed: 1`.
    ///
    /// # Errors
    /// On every rank the same [`Error::Rank`], about the first fact that the first differing rank sees otherwise than rank 0.
    pub fn same(&self, facts: &[String]) -> Result<()> {
        let texts = self.all(facts.join("\0").as_bytes());
        let texts: Vec<_> = texts.iter().map(|text| String::from_utf8_lossy(text)).collect();
        let Some(rank) = texts.iter().position(|text| *text != texts[0]) else { return Ok(()) };
        let mut pairs = texts[0].split('\0').zip(texts[rank].split('\0'));
        let (expected, found) = pairs.find(|(expected, found)| expected != found).unwrap_or(("less", "more"));
        Err(Error::Rank { rank, reason: format!("expected {expected}, as on rank 0, found {found}") })
    }

    /// The part of `0..n` that is this rank's: as even as can be, in the order of the ranks.
    pub fn part(&self, n: usize) -> Range<usize> {
        n * self.rank / self.size..n * (self.rank + 1) / self.size
    }
}

/// A denoiser whose images are shared out among ranks: each computes its part, and all have the whole.
///
/// All ranks must ask it the same, in the same order.
#[derive(Clone, Debug)]
pub struct Shared<'a, D: ?Sized> {
    /// what every rank has
    pub model: &'a D,
    /// who shares the images
    pub ranks: &'a Ranks,
}

impl<D: Denoiser + ?Sized> Denoiser for Shared<'_, D> {
    #[track_caller]
    fn predict(&self, x_t: &Batch, t: &[usize]) -> Batch {
        self.answer(&Query::new(x_t, t))
    }

    #[track_caller]
    fn answer(&self, query: &Query) -> Batch {
        if self.ranks.size() == 1 {
            return self.model.answer(query);
        }
        let part = self.ranks.part(query.t.len());
        let numbers = query.numbers();
        let mine = match part.is_empty() {
            true => Vec::new(),
            false => {
                let x_t = query.x_t.slice_axis(Axis(0), Slice::from(part.clone())).to_owned();
                let (t, images) = (&query.t[part.clone()], Some(&numbers[part]));
                self.model
                    .answer(&Query { x_t: &x_t, t, images, given: query.given })
                    .into_raw_vec_and_offset()
                    .0
            }
        };
        let all = self.ranks.all(&mine).concat();
        let (n, h, w, _) = query.x_t.dim();
        let channels = all.len() / (n * h * w); // more than x_t has where the variance is learned
        Batch::from_shape_vec((n, h, w, channels), all).expect("one answer for each image")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::diffusion::oracle::MixtureWorld;
    use crate::diffusion::{Noise, Reverse, Schedule, sample};
    use std::collections::HashMap;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    type Ends = (Sender<Vec<u8>>, Mutex<Receiver<Vec<u8>>>);

    /// Threads as ranks: a channel in each direction between every two.
    #[derive(Debug)]
    struct Channels(HashMap<usize, Ends>);

    impl Link for Channels {
        fn exchange(&self, other: usize, mine: &[u8]) -> Vec<u8> {
            let (to, from) = &self.0[&other];
            to.send(mine.to_vec()).expect("a rank that listens");
            from.lock().expect("one reader").recv().expect("a rank that speaks")
        }
    }

    /// Runs `work` on `size` threads, each a rank, and returns what they return.
    pub(crate) fn on_ranks<T: Send>(size: usize, work: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
        let mut ends: Vec<HashMap<usize, Ends>> = (0..size).map(|_| HashMap::new()).collect();
        for a in 0..size {
            for b in 0..a {
                let ((to_a, of_a), (to_b, of_b)) = (channel(), channel());
                ends[a].insert(b, (to_b, Mutex::new(of_a)));
                ends[b].insert(a, (to_a, Mutex::new(of_b)));
            }
        }
        let ranks = ends.into_iter().enumerate();
        let ranks: Vec<_> =
            ranks.map(|(rank, ends)| Ranks::new(rank, size, Arc::new(Channels(ends))).unwrap()).collect();
        std::thread::scope(|scope| {
            let threads: Vec<_> = ranks.into_iter().map(|ranks| scope.spawn(|| work(ranks))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn everybody_hears_everybody_in_order() {
        for size in [1, 2, 4, 8] {
            let want: Vec<Vec<u32>> = (0..size).map(|rank| vec![rank as u32; rank % 3]).collect();
            let heard = on_ranks(size, |ranks| ranks.all(&vec![ranks.rank() as u32; ranks.rank() % 3]));
            assert!(heard.iter().all(|heard| *heard == want), "{size}");
            let any = on_ranks(size, |ranks| [ranks.any(false), ranks.any(ranks.rank() + 1 == size)]);
            assert!(any.iter().all(|any| *any == [false, true]), "{size}");
        }
    }

    #[test]
    fn only_powers_of_two() {
        let error = Ranks::new(1, 3, Arc::new(Channels(HashMap::new()))).unwrap_err();
        assert_eq!(error.to_string(), "ranks: expected 1, 2, 4, 8 or another power of two, found 3");
    }

    #[test]
    fn a_failure_of_one_is_known_to_all() {
        let heard = on_ranks(4, |ranks| {
            let own =
                if ranks.rank() == 2 { Err(Error::argument("--data", "pictures", "none")) } else { Ok(7) };
            ranks.agree(own).map_err(|e| e.to_string())
        });
        let reason = "--data: expected pictures, found none";
        for (rank, heard) in heard.into_iter().enumerate() {
            let want = if rank == 2 { reason.to_string() } else { format!("rank 2: {reason}") };
            assert_eq!(heard.unwrap_err(), want);
        }
        assert_eq!(on_ranks(2, |ranks| ranks.agree(Ok::<_, Error>(7)).unwrap()), [7, 7]);
    }

    #[test]
    fn who_works_on_something_else_is_named() {
        let heard = on_ranks(4, |ranks| {
            let seed = if ranks.rank() == 3 { "2" } else { "1" };
            ranks.same(&["data: abc".into(), format!("seed: {seed}")]).unwrap_err().to_string()
        });
        assert!(
            heard.iter().all(|e| e == "rank 3: expected seed: 1, as on rank 0, found seed: 2"),
            "{heard:?}"
        );
        assert!(on_ranks(2, |ranks| ranks.same(&["data: abc".into()]).is_ok()).into_iter().all(|same| same));
    }

    #[test]
    fn parts_cover_everything_once() {
        for (n, size) in [(0, 4), (3, 4), (8, 4), (11, 8)] {
            let parts = on_ranks(size, |ranks| ranks.part(n));
            assert_eq!(parts.into_iter().flatten().collect::<Vec<_>>(), (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn shared_samples_are_those_of_one() {
        let schedule = Schedule::cosine(20);
        let means = Batch::from_shape_fn((2, 2, 2, 1), |(k, i, ..)| k as f64 - 0.3 * i as f64);
        let world = MixtureWorld::new(means, &[1.0, 2.0], 0.1, schedule.clone());
        let reverse = Reverse::new(schedule);
        let draw = |model: &dyn Denoiser, n| sample(model, &reverse, [n, 2, 2, 1], &Noise::seed(1));
        for n in [1, 3, 8] {
            let alone = draw(&world, n);
            for size in [2, 4] {
                let shared = on_ranks(size, |ranks| draw(&Shared { model: &world, ranks: &ranks }, n));
                assert!(shared.iter().all(|x0| *x0 == alone), "{n} on {size}");
            }
        }
    }
}
