//! The checks are checked: every solution passes, every known mistake is found and called by its name.

use ddpm_notebook::check;

/// The solutions, each a module, each function run by the check of its name.
macro_rules! solutions {
    ($($module:ident = $path:literal: $($name:ident)*;)*) => {
        $(
            mod $module {
                #![allow(dead_code, unused_imports, non_snake_case, missing_docs)]
                include!(concat!("../../solutions/", $path));

                pub(super) fn verdicts() -> Vec<(&'static str, ddpm_notebook::check::Verdict)> {
                    vec![$((stringify!($name), ddpm_notebook::check::$name($name))),*]
                }
            }
        )*

        #[test]
        fn every_solution_passes() {
            let verdicts = [$($module::verdicts()),*].concat();
            verdicts.iter().for_each(|(_, verdict)| assert_eq!(verdict.score(), 1.0, "{verdict}"));
            let solved: Vec<&str> = verdicts.iter().map(|(name, _)| *name).collect();
            let all: Vec<&str> = check::all().iter().map(|(name, _)| *name).collect();
            assert_eq!(solved, all, "a solution for each exercise, in their order");
        }
    };
}

solutions! {
    n00 = "00_rust_in_jupyter.rs": twice average countdown brightest_row;
    n01 = "01_gaussians.rs": log_pdf kl to_bits_per_dim bin_probability tanh_error;
    n02 = "02_forward.rs": walk alpha_bars noised quad_betas prior_cost;
    n03 = "03_posterior.rs": posterior guess_image reverse_step run_chain clipped_mean;
    n04 = "04_elbo.rs": cross_entropy step_kl bound_from_draws looser_by weight_share;
    n05 = "05_matmul.rs": strides fast_matmul im2col conv_by_matmul conv_gflop;
    n06 = "06_backprop_layers.rs": silu_backward linear_backward unbroadcast mse_backward gradient_is_wrong;
    n07 = "07_backprop_unet_parts.rs": conv_backward_data conv_backward_weights upsample_backward group_norm_backward attention_backward;
    n08 = "08_two_dimensions.rs": time_sinusoids adam_weights averages train_step energy_between;
    n09 = "09_unet.rs": up_inputs resnet_parameters tiny_u_backward add_time first_loss;
    n10 = "10_train.rs": to_level plateau go_on nearest_garment cause;
    n11 = "11_bits_per_dim.rs": prior_bits one_t_estimate best_times rate_curve invisible_bits;
    n12 = "12_paper_figures.rs": x0_estimate mixed_latent log_variance_and_slope hybrid_gradient share_of_decoder;
    n13 = "13_faster_and_steered.rs": ddim_sigma ddim_jump strided guided;
    n14 = "14_conditions.rs": without_class tilted given_one crps shown;
    n15 = "15_immiscible.rs": cheapest assigned_density alignment;
    n16 = "16_latents.rs": left_over through_sample bound_parts;
    n17 = "17_learned_noise.rs": step_cost gaussian_mse knots;
}

#[test]
fn every_mistake_is_found_and_named() {
    let mut faults = Vec::new();
    for (name, build) in check::all() {
        let mistakes = build().mistakes();
        assert!(mistakes.len() >= 2, "{name}: a check needs mistakes that it finds");
        // one that gives the same number everywhere can't be told from a constant, and is told as that
        let named = |mistake: &&'static str| [Some(*mistake), Some(check::CONSTANT)];
        let unseen =
            mistakes.into_iter().filter(|(mistake, verdict)| !named(mistake).contains(&verdict.cause()));
        faults.extend(unseen.map(|(mistake, verdict)| format!("{name}, {mistake}:\n{verdict}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
fn what_takes_no_thought_has_no_points() {
    let all: Vec<_> = check::all().iter().flat_map(|(_, build)| build().trivial()).collect();
    assert!(all.len() > 80, "{} trivial answers", all.len());
    all.iter().for_each(|verdict| assert_eq!(verdict.score(), 0.0, "{verdict}"));
}

#[test]
fn with_a_class_s_constants_mistakes_are_found_and_published_answers_are_wrong() {
    let passes = |class: &str, test: &str| {
        let mut command = std::process::Command::new(std::env::current_exe().expect("this test"));
        command
            .args(["--exact", test])
            .env("DDPM_CLASS", class)
            .output()
            .expect("this test again")
            .status
            .success()
    };
    let check = &|class: &str| {
        assert!(passes(class, "every_mistake_is_found_and_named"), "{class}");
        assert!(
            !passes(class, "every_solution_passes"),
            "{class}: the answers of the stored notebooks still hold"
        );
    };
    std::thread::scope(|scope| {
        for class in ["spring 2027", "autumn 2027", "evening course"] {
            scope.spawn(move || check(class));
        }
    });
}

#[test]
fn every_exhibit_of_the_museum_is_a_mistake_that_some_check_finds() {
    let known: Vec<&str> =
        check::all().iter().flat_map(|(_, build)| build().mistakes()).map(|(mistake, _)| mistake).collect();
    for exhibit in check::museum::ALL {
        assert!(known.contains(&exhibit), "no check for {exhibit}");
    }
}

#[test]
fn every_exercise_has_hints_and_a_name_of_its_own() {
    let mut names: Vec<&str> = check::all().iter().map(|(name, _)| *name).collect();
    assert!(check::all().iter().all(|(_, build)| !build().hints().is_empty()), "an exercise without a hint");
    names.sort_unstable();
    names.windows(2).for_each(|pair| assert_ne!(pair[0], pair[1]));
}
