//! What a model is asked: x_t, t, and everything else that is known of each image (its class, some of its pixels).
//!
//! Samplers and the bound ask about the images of a job by number: image n has the noise of number n, and what is known of
//! it is row n of a [`Given`]. They don't look at conditions themselves: [`Conditioned`] binds them to a model, which makes
//! p_θ(x|c) of p_θ(x), and is a model like any other. [`Guided`] asks twice and exaggerates the difference.

use super::Denoiser;
use crate::tensor::Batch;
use ndarray::{Axis, Zip, concatenate, s};
use std::borrow::Cow;

/// What is known of each image of a job beside x_t; nothing by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    /// the class of each image, `[N]`; an image whose class is `None` is asked about without one
    pub class: Option<Vec<Option<usize>>>,
    /// some of the pixels
    pub known: Option<Known>,
}

/// Pixels that are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// `[N, H, W, C]`, in [−1, 1]; what stands where the mask is 0 means nothing
    pub values: Batch,
    /// 1 where a pixel is known, else 0, `[N, H, W, 1]`
    pub mask: Batch,
}

impl Known {
    /// The pixels of these images, in this order; an image may occur several times.
    ///
    /// # Panics
    /// If a number is not that of an image.
    ///
    /// ```
    /// use ddpm::{diffusion::Known, tensor::Batch};
    /// let one = Known { values: Batch::zeros((1, 2, 2, 1)), mask: Batch::ones((1, 2, 2, 1)) };
    /// assert_eq!(one.rows(&[0; 5]).mask.dim(), (5, 2, 2, 1));
    /// ```
    #[track_caller]
    pub fn rows(&self, images: &[usize]) -> Known {
        let rows = |x: &Batch| x.select(Axis(0), images);
        Known { values: rows(&self.values), mask: rows(&self.mask) }
    }
}

static NOTHING: Given = Given { class: None, known: None };

impl Given {
    /// Nothing but the class of each image.
    ///
    /// ```
    /// use ddpm::diffusion::Given;
    /// assert_eq!(Given::classes(&[7, 7, 3]).rows(&[2]), Given::classes(&[3]));
    /// ```
    pub fn classes(classes: &[usize]) -> Given {
        Given { class: Some(classes.iter().map(|&class| Some(class)).collect()), known: None }
    }

    /// Nothing but some of the pixels.
    ///
    /// ```
    /// use ddpm::{diffusion::{Given, Known}, tensor::Batch};
    /// let known = Known { values: Batch::zeros((1, 2, 2, 1)), mask: Batch::ones((1, 2, 2, 1)) };
    /// assert_eq!(Given::known(known.clone()).known, Some(known));
    /// ```
    pub fn known(known: Known) -> Given {
        Given { class: None, known: Some(known) }
    }

    /// What is known of these images, in this order.
    ///
    /// # Panics
    /// If a number is not that of an image.
    ///
    /// ```
    /// use ddpm::diffusion::Given;
    /// assert_eq!(Given::classes(&[7, 8, 9]).rows(&[2, 0]), Given::classes(&[9, 7]));
    /// ```
    #[track_caller]
    pub fn rows(&self, images: &[usize]) -> Given {
        let class = self.class.as_ref().map(|class| images.iter().map(|&n| class[n]).collect());
        Given { class, known: self.known.as_ref().map(|known| known.rows(images)) }
    }
}

/// A question to a model: some rows, and of which image of the job each row is.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// `[N, H, W, C]`
    pub x_t: &'a Batch,
    /// N numbers of 1..=T
    pub t: &'a [usize],
    /// N numbers of images; `None` is row n of image n
    pub images: Option<&'a [usize]>,
    /// by number of image
    pub given: &'a Given,
}

impl<'a> Query<'a> {
    /// About image n in row n, of which nothing else is known.
    ///
    /// ```
    /// use ddpm::{diffusion::Query, tensor::Batch};
    /// let x_t = Batch::zeros((2, 4, 4, 1));
    /// let query = Query::new(&x_t, &[5, 6]);
    /// assert!(query.given.class.is_none());
    /// ```
    pub fn new(x_t: &'a Batch, t: &'a [usize]) -> Query<'a> {
        Query { x_t, t, images: None, given: &NOTHING }
    }

    /// The image of each row.
    ///
    /// ```
    /// use ddpm::{diffusion::Query, tensor::Batch};
    /// let x_t = Batch::zeros((2, 4, 4, 1));
    /// let query = Query::new(&x_t, &[5, 6]);
    /// assert_eq!(query.numbers().to_vec(), [0, 1]);
    /// ```
    pub fn numbers(&self) -> Cow<'a, [usize]> {
        self.images.map_or_else(|| (0..self.t.len()).collect(), Cow::Borrowed)
    }

    /// What is known of the image of each row.
    ///
    /// ```
    /// use ddpm::{diffusion::{Given, Query}, tensor::Batch};
    /// let (x_t, given) = (Batch::zeros((1, 4, 4, 1)), Given::classes(&[7, 8]));
    /// let query = Query { images: Some(&[1]), given: &given, ..Query::new(&x_t, &[5]) };
    /// assert_eq!(query.rows(), Given::classes(&[8])); // row 0 is image 1
    /// ```
    pub fn rows(&self) -> Given {
        self.given.rows(&self.numbers())
    }
}

/// A model of which every question is about the images of one job: p_θ(x_{t−1} | x_t, c_n) for image n.
///
/// ```
/// use ddpm::diffusion::{Conditioned, Denoiser, Given, Noise, Query, Reverse, Schedule, sample};
/// use ddpm::tensor::Batch;
/// /// All images of class k are grey of level k/10: x_t = √ᾱ_t k/10 + √(1 − ᾱ_t) ε says what ε is.
/// struct Greys(Schedule);
/// impl Denoiser for Greys {
///     fn predict(&self, x_t: &Batch, t: &[usize]) -> Batch {
///         self.answer(&Query::new(x_t, t))
///     }
///     fn answer(&self, query: &Query) -> Batch {
///         let classes = query.rows().class.expect("a class");
///         let mut eps_hat = query.x_t.clone();
///         for ((mut eps_hat, class), &t) in eps_hat.outer_iter_mut().zip(classes).zip(query.t) {
///             let (alpha_bar, x0) = (self.0.alpha_bar(t), class.expect("told") as f64 / 10.0);
///             eps_hat.mapv_inplace(|x_t| (x_t - alpha_bar.sqrt() * x0) / (1.0 - alpha_bar).sqrt());
///         }
///         eps_hat
///     }
/// }
/// let greys = Greys(Schedule::cosine(20));
/// let reverse = Reverse::new(greys.0.clone());
/// let three = Conditioned { model: &greys, given: Given::classes(&[0, 3, 9]) };
/// let x0 = sample(&three, &reverse, [3, 1, 1, 1], &Noise::seed(1));
/// assert!((&x0.flatten() - &ndarray::array![0.0, 0.3, 0.9]).iter().all(|d| d.abs() < 1e-9));
/// ```
#[derive(Clone, Debug)]
pub struct Conditioned<'a, M: ?Sized> {
    /// who is asked
    pub model: &'a M,
    /// by number of image
    pub given: Given,
}

impl<M: Denoiser + ?Sized> Denoiser for Conditioned<'_, M> {
    fn predict(&self, x_t: &Batch, t: &[usize]) -> Batch {
        self.answer(&Query::new(x_t, t))
    }

    fn answer(&self, query: &Query) -> Batch {
        self.model.answer(&Query { given: &self.given, ..*query })
    }
}

/// Classifier-free guidance (Ho & Salimans 2022): ε̃ = (1 + w) ε̂(x_t, t, c) − w ε̂(x_t, t).
///
/// w = 0 is the conditional model and w = −1 the unconditional one; elsewhere 1 + w is called the *guidance scale*. It holds
/// for what predicts x_0 or v as well, since both are ε̂ times a number plus x_t times a number. A learned variance is that of
/// the conditional answer. A row without a class keeps its ε̂.
///
/// Put [`Conditioned`] around it: this is the model that the conditions are for.
#[derive(Clone, Copy, Debug)]
pub struct Guided<'a, M: ?Sized> {
    /// who is asked, with the class and without
    pub model: &'a M,
    /// how far beyond the conditional answer
    pub w: f64,
}

impl<M: Denoiser + ?Sized> Denoiser for Guided<'_, M> {
    fn predict(&self, x_t: &Batch, t: &[usize]) -> Batch {
        self.model.predict(x_t, t)
    }

    /// One batch of 2N rows, of which the second half has no class.
    fn answer(&self, query: &Query) -> Batch {
        if self.w == 0.0 || query.given.class.is_none() {
            return self.model.answer(query);
        }
        let (n, c) = (query.t.len(), query.x_t.dim().3);
        let (x_t, t) = (concatenate![Axis(0), *query.x_t, *query.x_t], query.t.repeat(2));
        let mut given = query.given.rows(&query.numbers().repeat(2));
        given.class.iter_mut().for_each(|class| class[n..].fill(None));
        let mut answer = self.model.answer(&Query { x_t: &x_t, t: &t, images: None, given: &given });
        let (mut conditional, without) = answer.view_mut().split_at(Axis(0), n);
        Zip::from(conditional.slice_mut(s![.., .., .., ..c]))
            .and(without.slice(s![.., .., .., ..c]))
            .for_each(|eps, &without| *eps = (1.0 + self.w) * *eps - self.w * without);
        conditional.to_owned()
    }
}

/// A model that tells each time it is asked, say to move a bar.
#[derive(Clone, Copy, Debug)]
pub struct Watched<'a, M: ?Sized, F> {
    /// who is asked
    pub model: &'a M,
    /// is called with the question before it is
    pub before: F,
}

impl<M: Denoiser + ?Sized, F: Fn(&Query)> Denoiser for Watched<'_, M, F> {
    fn predict(&self, x_t: &Batch, t: &[usize]) -> Batch {
        self.answer(&Query::new(x_t, t))
    }

    fn answer(&self, query: &Query) -> Batch {
        (self.before)(query);
        self.model.answer(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{
        Ddim, ElboOptions, Noise, Reverse, Schedule, TimeSteps, ddim_sample, elbo, respace, sample,
    };
    use crate::diffusion::{Interpolation, interpolate, oracle::GaussianWorld, shared_latents};
    use crate::rng::{normal, stream};
    use ndarray::Array3;

    /// Class k is N(k/2 − 1/2, 0.1); without a class N(0, 1).
    struct Classes(Schedule);

    impl Classes {
        fn world(&self, class: Option<usize>) -> GaussianWorld {
            match class {
                Some(k) => GaussianWorld::new(k as f64 / 2.0 - 0.5, 0.1, self.0.clone()),
                None => GaussianWorld::new(0.0, 1.0, self.0.clone()),
            }
        }
    }

    impl Denoiser for Classes {
        fn predict(&self, x_t: &Batch, t: &[usize]) -> Batch {
            self.world(None).predict(x_t, t)
        }

        fn answer(&self, query: &Query) -> Batch {
            let mut eps_hat = query.x_t.clone();
            for (n, class) in
                query.rows().class.unwrap_or_else(|| vec![None; query.t.len()]).into_iter().enumerate()
            {
                let row = query.x_t.slice(s![n..n + 1, .., .., ..]).to_owned();
                eps_hat
                    .slice_mut(s![n..n + 1, .., .., ..])
                    .assign(&self.world(class).predict(&row, &[query.t[n]]));
            }
            eps_hat
        }
    }

    fn setup() -> (Classes, Reverse, Given) {
        let schedule = Schedule::cosine(30);
        let given = Given { class: Some(vec![Some(2), None, Some(0)]), known: None };
        (Classes(schedule.clone()), Reverse { clip: false, ..Reverse::new(schedule) }, given)
    }

    /// Every sampler gives image n what its own class gives it: as if each class had a model of its own.
    #[test]
    fn each_image_has_its_own_condition_in_every_sampler() {
        let (model, reverse, given) = setup();
        let classes = given.class.clone().unwrap();
        let all = Conditioned { model: &model, given };
        let (shape, noise) = ([3, 2, 2, 1], Noise::seed(1));
        let ddim = Ddim { eta: 0.5, ..Ddim::new(7) };
        type Sampler<'a> = &'a dyn Fn(&dyn Denoiser) -> Batch;
        let samplers: [Sampler; 3] = [
            &|model| sample(model, &reverse, shape, &noise),
            &|model| ddim_sample(model, &reverse, &ddim, shape, &noise),
            &|model| {
                let (model, short) = respace(model, &reverse, 6);
                sample(&model, &short, shape, &noise)
            },
        ];
        for sampler in samplers {
            let x0 = sampler(&all);
            for (n, &class) in classes.iter().enumerate() {
                let alone = sampler(&model.world(class));
                assert_eq!(x0.index_axis(Axis(0), n), alone.index_axis(Axis(0), n), "image {n}");
            }
        }
    }

    /// A pair (image, t) of the bound takes the row of its image, however the pairs are put together.
    #[test]
    fn the_bound_takes_the_row_of_the_image() {
        let (model, reverse, given) = setup();
        let classes = given.class.clone().unwrap();
        let data = normal::<f64, _>((3, 2, 2, 1), &mut stream(1, 0))
            .mapv(|z| ((z * 30.0).round() / 127.5).clamp(-1.0, 1.0));
        for time_steps in [TimeSteps::All, TimeSteps::Stratified { count: 5, seed: 1 }] {
            let options = ElboOptions { batch: 7, time_steps, ..ElboOptions::default() };
            let bound = |model: &dyn Denoiser| elbo(model, &reverse, &data, &options, &Noise::seed(2));
            let all = bound(&Conditioned { model: &model, given: given.clone() });
            for (n, &class) in classes.iter().enumerate() {
                assert_eq!(all.L.row(n), bound(&model.world(class)).L.row(n), "image {n}");
            }
        }
    }

    #[test]
    fn rows_of_an_interpolation_and_of_shared_latents_are_images() {
        let (model, reverse, given) = setup();
        let all = Conditioned { model: &model, given };
        let (a, b) = (Array3::zeros((2, 2, 1)), Array3::ones((2, 2, 1)));
        let noise = Noise::seed(1);
        let between = |lambdas| Interpolation { x0: a.view(), x0_prime: b.view(), t: 20, lambdas };
        let mixed = interpolate(&all, &reverse, &between(&[0.5; 3]), &noise);
        let third = interpolate(&model.world(Some(0)), &reverse, &between(&[0.5]), &noise);
        assert_eq!(mixed.index_axis(Axis(0), 2), third.index_axis(Axis(0), 0));
        assert_ne!(mixed.index_axis(Axis(0), 0), mixed.index_axis(Axis(0), 1));
        // the way to the shared latent is image 0's
        let (latent, _) = shared_latents(&all, &reverse, [3, 2, 2, 1], 10, &noise);
        assert_eq!(latent, shared_latents(&model.world(Some(2)), &reverse, [1, 2, 2, 1], 10, &noise).0);
    }

    /// ε̃ = (1 + w) ε̂(c) − w ε̂ with the two asked one after the other, and the learned half of the conditional answer.
    #[test]
    fn guidance_asks_twice() {
        let (model, _, given) = setup();
        let x_t: Batch = normal((3, 2, 2, 1), &mut stream(3, 0));
        let query = Query { given: &given, ..Query::new(&x_t, &[5, 9, 30]) };
        let (with, without) = (model.answer(&query), model.predict(&x_t, query.t));
        for w in [-1.0, 0.0, 0.5, 3.0] {
            let guided = Guided { model: &model, w }.answer(&query);
            let want = (1.0 + w) * &with - w * &without;
            assert!((&guided - &want).iter().all(|d| d.abs() < 1e-12), "w = {w}");
            let row = |x: &Batch| x.index_axis(Axis(0), 1).to_owned();
            assert!((row(&guided) - row(&without)).iter().all(|d| d.abs() < 1e-12), "no class, no guidance");
        }
        struct Wide<'a>(&'a Classes);
        impl Denoiser for Wide<'_> {
            fn predict(&self, x_t: &Batch, t: &[usize]) -> Batch {
                self.answer(&Query::new(x_t, t))
            }
            fn answer(&self, query: &Query) -> Batch {
                let answer = self.0.answer(query);
                concatenate![Axis(3), answer, 10.0 * &answer]
            }
        }
        let guided = Guided { model: &Wide(&model), w: 1.0 }.answer(&query);
        assert_eq!(guided.slice(s![.., .., .., 1..]), 10.0 * &with);
        assert_eq!(Guided { model: &model, w: 1.0 }.predict(&x_t, query.t), without);
    }

    /// Known pixels reach the model by image, also in the doubled batch.
    #[test]
    fn known_pixels_travel_by_rows() {
        let values: Batch = normal((3, 2, 2, 1), &mut stream(4, 0));
        let known = Known { mask: values.mapv(|v| f64::from(v > 0.0)), values };
        let given = Given { class: Some(vec![Some(1); 3]), known: Some(known.clone()) };
        struct Shows;
        impl Denoiser for Shows {
            fn predict(&self, x_t: &Batch, _: &[usize]) -> Batch {
                Batch::zeros(x_t.dim())
            }
            fn answer(&self, query: &Query) -> Batch {
                let Known { values, mask } = query.rows().known.expect("known pixels");
                values * mask
            }
        }
        let x_t = Batch::zeros((2, 2, 2, 1));
        let query = Query { images: Some(&[2, 0]), given: &given, ..Query::new(&x_t, &[3, 4]) };
        let shown = Guided { model: &Shows, w: 2.0 }.answer(&query);
        let want = (&known.values * &known.mask).select(Axis(0), &[2, 0]);
        assert!((&shown - &want).iter().all(|d| d.abs() < 1e-15));
        assert_eq!(Watched { model: &Shows, before: |_: &Query| () }.answer(&query), want);
    }
}
