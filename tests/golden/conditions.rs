//! Networks that are told a class, against reference data made by diffusers' `UNet2DModel` with `num_class_embeds`
//! (`tests/golden/README.md`): outputs, all gradients, guidance, a chain of DDIM.

use crate::common::{Golden, golden_files, max_error};
use ddpm::diffusion::{
    Conditioned, Ddim, Denoiser, Given, Guided, Noise, Query, Reverse, Schedule, ddim_steps,
};
use ddpm::params::Params;
use ndarray::Axis;

/// t from 1, and the classes, as numbers of rows.
fn asked(golden: &Golden) -> (Vec<usize>, Given) {
    let t = golden.indices("t").iter().map(|t| t + 1).collect();
    (t, Given::classes(&golden.indices("labels")))
}

#[test]
fn classes_with_all_gradients() {
    for golden in golden_files("cond_unet_") {
        let (unet, x, (t, given)) = (golden.unet("w/"), golden.batch32("x"), asked(&golden));
        let (y, cache) = unet.forward_given(x.clone(), &t, &given, &mut []);
        golden.assert_near("y", &y, &golden.batch("y"), 1e-5);
        golden.assert_near("inference", &unet.infer_given(&x, &t, &given), &golden.batch("y"), 1e-5);

        let mut grad = unet.zeros_like();
        let dx = unet.backward(cache, &golden.batch32("g"), &mut grad);
        golden.assert_near("∂/∂x", &dx, &golden.batch("grad_x"), 2e-5);
        golden.assert_gradients(&grad);
        let table = grad.class_embedding.unwrap().weight;
        let absent = |row: &usize| !golden.indices("labels").contains(row);
        let mut absent = (0..table.nrows()).filter(absent).peekable();
        assert!(absent.peek().is_some());
        assert!(absent.all(|row| table.row(row).iter().all(|&g| g == 0.0)), "classes that do not occur");

        // negative control: the next class is another picture
        let next: Vec<usize> = golden.indices("labels").iter().map(|l| (l + 1) % table.nrows()).collect();
        let (error, max) = max_error(&unet.infer_given(&x, &t, &Given::classes(&next)), &golden.batch("y"));
        assert!(error > 0.1 * max, "{error:e} of {max}");
    }
}

#[test]
fn guidance_and_its_chain() {
    let guided = golden_files("cond_unet_").into_iter().filter(|golden| golden.has("guided/w1"));
    for (n, golden) in guided.enumerate() {
        assert_eq!(n, 0, "one of the files has them");
        let (unet, x) = (golden.unet("w/"), golden.batch("x"));
        let null = unet.config.num_class_embeds.unwrap() - 1;
        assert!(
            golden.indices("guided/null_labels").iter().all(|&row| row == null),
            "the last row is no class"
        );
        let (t, _) = asked(&golden);
        let given = Given::classes(&golden.indices("guided/labels"));
        let query = Query { given: &given, ..Query::new(&x, &t) };
        golden.assert_near("ε̂(c)", &unet.answer(&query), &golden.batch("guided/eps_cond"), 1e-5);
        golden.assert_near("ε̂(∅)", &unet.predict(&x, &t), &golden.batch("guided/eps_null"), 1e-5);
        for name in golden.names().iter().filter_map(|name| name.strip_prefix("guided/w")) {
            let w: f64 = name.parse().unwrap();
            let eps = Guided { model: &unet, w }.answer(&query);
            let want = golden.batch(&format!("guided/w{name}"));
            golden.assert_near(&format!("ε̃ of w = {w}"), &eps, &want, 1e-5 * (1.0 + 2.0 * w));
        }

        let (x, settings) = (golden.batches("ddim/x"), golden.meta_json("ddim"));
        let reverse = Reverse { clip: false, ..Reverse::new(Schedule::linear(1000)) };
        let guided = Guided { model: &unet, w: settings["w"].as_f64().unwrap() };
        let model = Conditioned { model: &guided, given: Given::classes(&golden.indices("ddim/labels")) };
        let ddim = Ddim::new(x.len());
        let times: Vec<usize> = golden.indices("ddim/timesteps").iter().map(|i| i + 1).collect();
        assert_eq!(ddim.timesteps(1000), times);
        let x_last = golden.batch("ddim/x_T");
        let start = |n: usize, _: usize| x_last.index_axis(Axis(0), n).to_owned();
        let (n, h, w, c) = x_last.dim();
        let mut k = 0;
        for step in ddim_steps(&model, &reverse, &ddim, [n, h, w, c], &Noise::given(&start)) {
            golden.assert_near(&format!("x at {}", step.t), &step.x_prev, &x[k], 1e-4);
            k += 1;
        }
        assert_eq!(k, x.len());
    }
}
