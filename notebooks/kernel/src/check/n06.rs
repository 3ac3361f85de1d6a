//! 06: backprop by hand, Linear, SiLU, MSE, broadcast.

use super::{Value, exercises};
use ddpm::prelude::ndarray::{Array1, Array2, Axis, array};
use ddpm::rng::{normal, stream};

/// `x` to `y`.
type Forward = fn(&Array1<f64>) -> Array1<f64>;
/// `x` and `dy` to `dx`.
type Backward = fn(&Array1<f64>, &Array1<f64>) -> Array1<f64>;
/// `linear_backward(x, w, dy)` is `(dx, dw, db)`.
type LinearBackward = fn(&Array2<f64>, &Array2<f64>, &Array2<f64>) -> (Array2<f64>, Array2<f64>, Array1<f64>);
/// `mse_backward(prediction, target)` is the loss and its gradient.
type MseBackward = fn(&Array2<f64>, &Array2<f64>) -> (f64, Array2<f64>);

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// y = x σ(x).
fn silu(x: &Array1<f64>) -> Array1<f64> {
    x.mapv(|x| x * sigmoid(x))
}

/// σ(x) (1 + x (1 − σ(x))).
fn silu_slope(x: f64) -> f64 {
    sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)))
}

fn silu_gradient(x: &Array1<f64>, dy: &Array1<f64>) -> Array1<f64> {
    x.mapv(silu_slope) * dy
}

/// The mean of `x`, and 1/s for its standard deviation s.
fn moments(x: &Array1<f64>) -> (f64, f64) {
    let mean = x.sum() / x.len() as f64;
    let variance = x.mapv(|x| (x - mean).powi(2)).sum() / x.len() as f64;
    (mean, 1.0 / variance.sqrt())
}

/// y = (x − μ)/s.
fn standardise(x: &Array1<f64>) -> Array1<f64> {
    let (mean, inverse) = moments(x);
    (x - mean) * inverse
}

/// dx = (dy − mean(dy) − y mean(dy y))/s; each of the two means only if it is asked for.
fn standardise_gradient<const MEAN: bool, const VARIANCE: bool>(
    x: &Array1<f64>,
    dy: &Array1<f64>,
) -> Array1<f64> {
    let (y, (_, inverse), n) = (standardise(x), moments(x), x.len() as f64);
    let through_mean = if MEAN { dy.sum() / n } else { 0.0 };
    let through_variance = if VARIANCE { (dy * &y).sum() / n } else { 0.0 };
    (dy - through_mean - y * through_variance) * inverse
}

/// How a wrong gradient check looks for the error.
struct Probe {
    /// the cotangent
    g: Array1<f64>,
    h: f64,
    /// so many numbers of x are moved
    moved: usize,
    /// the error is compared with the gradient's length, but at least with this
    least: f64,
}

impl Probe {
    fn new(x: &Array1<f64>) -> Probe {
        Probe { g: normal(x.len(), &mut stream(6, 0)), h: 1e-5, moved: x.len(), least: 0.0 }
    }

    fn finds_error(&self, forward: Forward, backward: Backward, x: &Array1<f64>) -> bool {
        let (mut square, mut length, dx) = (0.0, 0.0, backward(x, &self.g));
        for i in 0..self.moved {
            let (mut plus, mut minus) = (x.clone(), x.clone());
            plus[i] += self.h;
            minus[i] -= self.h;
            let numeric = ((forward(&plus) - forward(&minus)) * &self.g).sum() / (2.0 * self.h);
            square += (numeric - dx[i]).powi(2);
            length += dx[i] * dx[i];
        }
        square.sqrt() > 1e-6 * length.sqrt().max(self.least)
    }
}

/// Numbers with which a matrix, its transpose and its inverse are three different things.
fn square_case() -> [Array2<f64>; 3] {
    [
        array![[1.0, 2.0, -1.0], [0.5, -3.0, 2.0], [4.0, 0.0, 1.0]],
        array![[0.5, 1.0, 0.0], [-1.0, 2.0, 3.0], [1.5, -0.5, 1.0]],
        array![[1.0, -2.0, 0.5], [3.0, 1.0, -1.0], [0.0, 2.0, 1.0]],
    ]
}

fn rectangular_case() -> [Array2<f64>; 3] {
    let draw = |m, n, k| normal((m, n), &mut stream(606, k));
    [draw(5, 4, 0), draw(4, 2, 1), draw(5, 2, 2)]
}

/// dx = dy Wᵀ, dW = xᵀ dy, db = Σ_rows dy.
fn linear_gradients(
    x: &Array2<f64>,
    w: &Array2<f64>,
    dy: &Array2<f64>,
) -> (Array2<f64>, Array2<f64>, Array1<f64>) {
    (dy.dot(&w.t()), x.t().dot(dy), dy.sum_axis(Axis(0)))
}

fn joined((dx, dw, db): (Array2<f64>, Array2<f64>, Array1<f64>)) -> Value {
    ((dx, dw), db).into()
}

/// The sum over the axes along which `shape` is 1.
fn summed(dy: &Array2<f64>, shape: (usize, usize)) -> Array2<f64> {
    Array2::from_shape_fn(shape, |(i, j)| {
        let rows = if shape.0 == 1 { 0..dy.nrows() } else { i..i + 1 };
        rows.map(|r| if shape.1 == 1 { dy.row(r).sum() } else { dy[[r, j]] }).sum()
    })
}

/// The mean of the squares, and its gradient times `factor`.
fn mse(prediction: &Array2<f64>, target: &Array2<f64>, factor: f64) -> (f64, Array2<f64>) {
    let off = prediction - target;
    let n = off.len() as f64;
    (off.mapv(|off| off * off).sum() / n, off * (2.0 * factor / n))
}

type Unbroadcast = fn(&Array2<f64>, (usize, usize)) -> Array2<f64>;
type GradientIsWrong = fn(Forward, Backward, &Array1<f64>) -> bool;

exercises! {
    solutions: "06_backprop_layers.rs";
    /// `silu_backward(x, dy)` is `dx`, for y = x σ(x).
    silu_backward: Backward;
    /// `linear_backward(x, w, dy)` is `(dx, dw, db)`, for y = x W + b.
    linear_backward: LinearBackward;
    /// `unbroadcast(dy, shape)`: the gradient of an array of this shape that was broadcast to that of dy.
    unbroadcast: Unbroadcast;
    /// `mse_backward(prediction, target)`: the mean of all squared differences, and its gradient for the prediction.
    mse_backward: MseBackward;
    /// `gradient_is_wrong(forward, backward, x)`: whether a backward pass does not belong to its forward pass.
    gradient_is_wrong: GradientIsWrong;
}

/// Cases, mistakes and hints.
mod define {
    use super::*;
    use crate::check::Exercise;

    pub(super) fn silu_backward(e: Exercise<Backward>) -> Exercise<Backward> {
        let case = |x: Array1<f64>, dy: Array1<f64>| {
            let expected = silu_gradient(&x, &dy);
            (move |f: Backward| f(&x, &dy), expected)
        };
        let (few, few_expected) =
            case(array![-3.0, -1.0, 0.0, 0.5, 2.0, 5.0], array![1.0, -2.0, 0.5, 3.0, 1.0, -1.0]);
        let (far, far_expected) = case(array![-800.0, 800.0], array![1.5, 1.5]);
        let (many, many_expected) =
            case(normal(40, &mut stream(61, 0)) * 3.0, normal(40, &mut stream(61, 1)));
        e.case("x = [-3, -1, 0, 0.5, 2, 5], dy = [1, -2, 0.5, 3, 1, -1]", few, few_expected)
            .case("x = [-800, 800], dy = [1.5, 1.5], where e^800 is infinite", far, far_expected)
            .case("40 random numbers", many, many_expected)
            .trivial(|x, _| x.clone())
            .trivial(|_, dy| dy.clone())
            .mistake("dy is missing: this is the slope, not yet the chain rule", |x, _| x.mapv(silu_slope))
            .mistake("the derivative of σ(x), not of x σ(x)", |x, dy| {
                x.mapv(|x| sigmoid(x) * (1.0 - sigmoid(x))) * dy
            })
            .mistake("half of the product rule: x is differentiated, σ(x) is not", |x, dy| {
                x.mapv(sigmoid) * dy
            })
            .mistake("the other half of the product rule: σ(x) is differentiated, x is not", |x, dy| {
                x.mapv(|x| x * sigmoid(x) * (1.0 - sigmoid(x))) * dy
            })
            .mistake("SiLU itself times dy", |x, dy| silu(x) * dy)
            .hint("(u v)' = u' v + u v', here with u = x and v = σ(x); and σ' = σ (1 − σ).")
            .hint("The slope is σ (1 + x (1 − σ)); dx is dy times the slope, number by number.")
            .hint("If it is NaN at x = 800: write σ(x) as 1/(1 + e^−x), where an infinite e^… does no harm.")
    }

    pub(super) fn linear_backward(e: Exercise<LinearBackward>) -> Exercise<LinearBackward> {
        let case = |[x, w, dy]: [Array2<f64>; 3]| {
            let expected = joined(linear_gradients(&x, &w, &dy));
            (move |f: LinearBackward| joined(f(&x, &w, &dy)), expected)
        };
        let (square, square_expected) = case(square_case());
        let (rectangular, rectangular_expected) = case(rectangular_case());
        let one_row =
            [array![[1.0, -2.0]], array![[0.5, 1.0, 2.0], [3.0, 0.0, -1.0]], array![[1.0, 2.0, 3.0]]];
        let (row, row_expected) = case(one_row);
        e.case(
            "(dx; dW; db) for 3 rows of 3 numbers and a 3×3 matrix, where every shape fits",
            square,
            square_expected,
        )
        .case("(dx; dW; db) for x [5, 4], W [4, 2], dy [5, 2]", rectangular, rectangular_expected)
        .case("(dx; dW; db) for x [1, 2], W [2, 3], dy [1, 3]", row, row_expected)
        .mistake("dx = dy W: it is W transposed that leads back", |x, w, dy| {
            let (_, dw, db) = linear_gradients(x, w, dy);
            (dy.dot(w), dw, db)
        })
        .mistake("dW is transposed: its rows belong to the inputs", |x, w, dy| {
            let (dx, dw, db) = linear_gradients(x, w, dy);
            (dx, dw.reversed_axes(), db)
        })
        .mistake("db is a mean over rows, not a sum", |x, w, dy| {
            let (dx, dw, db) = linear_gradients(x, w, dy);
            (dx, dw, db / dy.nrows() as f64)
        })
        .mistake("db is summed over the outputs, not over the rows", |x, w, dy| {
            let (dx, dw, _) = linear_gradients(x, w, dy);
            (dx, dw, dy.sum_axis(Axis(1)))
        })
        .hint("Each gradient has the shape of what it belongs to: dx that of x, dW that of W.")
        .hint(
            "dx is a product of dy [rows, out] and something [out, in]; dW is [in, rows] times [rows, out].",
        )
        .hint("`dy.dot(&w.t())`, `x.t().dot(dy)`, `dy.sum_axis(Axis(0))`")
    }

    pub(super) fn unbroadcast(e: Exercise<Unbroadcast>) -> Exercise<Unbroadcast> {
        let dy = || array![[1.0, 2.0, 3.0], [10.0, 20.0, 40.0], [-1.0, 0.5, 0.0], [5.0, 5.0, 7.0]];
        let mut e = e;
        for shape in [(1, 3), (4, 1), (1, 1), (4, 3)] {
            e = e.case(
                format!("dy of shape (4, 3), shape {shape:?}"),
                move |f| f(&dy(), shape),
                summed(&dy(), shape),
            );
        }
        e.trivial(|dy, _| dy.clone())
            .mistake("a mean, not a sum: each use counts in full", |dy, shape| {
                summed(dy, shape) * ((shape.0 * shape.1) as f64 / dy.len() as f64)
            })
            .mistake("only the first use counts; the others flow back too", |dy, shape| {
                dy.slice(ddpm::prelude::s![..shape.0, ..shape.1]).to_owned()
            })
            .mistake("the sum has the shape of dy: a gradient has the shape of what it belongs to", |dy, shape| {
                summed(dy, shape).broadcast(dy.raw_dim()).map_or_else(|| dy.clone(), |wide| wide.to_owned())
            })
            .mistake("columns are never summed", |dy, shape| summed(dy, (shape.0, dy.ncols())))
            .hint("What was used several times has to be paid back several times.")
            .hint("Where the shape has a 1 and dy has more, one number was used that often. What flows back from all its uses adds up.")
            .hint("`sum_axis(Axis(0))` drops the axis; `.insert_axis(Axis(0))` puts it back with length 1.")
    }

    pub(super) fn mse_backward(e: Exercise<MseBackward>) -> Exercise<MseBackward> {
        let case = |prediction: Array2<f64>, target: Array2<f64>| {
            let expected = Value::from(mse(&prediction, &target, 1.0));
            (move |f: MseBackward| f(&prediction, &target), expected)
        };
        let (small, small_expected) =
            case(array![[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]], array![[0.5, 2.0, 1.0], [0.0, 1.0, 2.0]]);
        let (large, large_expected) =
            case(normal((7, 5), &mut stream(63, 0)), normal((7, 5), &mut stream(63, 1)));
        let (perfect, perfect_expected) = case(array![[1.0, -1.0]], array![[1.0, -1.0]]);
        e.case("(loss; gradient) for [[1, 2, 0], [0, -1, 3]] where [[0.5, 2, 1], [0, 1, 2]] was to be predicted", small, small_expected)
            .case("(loss; gradient) for 7 rows of 5 random numbers", large, large_expected)
            .case("(loss; gradient) for a perfect prediction", perfect, perfect_expected)
            .trivial(|prediction, _| (0.0, prediction.clone()))
            .trivial(|_, target| (0.0, target.clone()))
            .mistake("the sign: this is the gradient for the target, and a step against it leads away", |p, t| mse(p, t, -1.0))
            .mistake("the 2 of the square is missing", |p, t| mse(p, t, 0.5))
            .mistake("the gradient of a sum over the row, while the loss is a mean", |p, t| mse(p, t, p.ncols() as f64))
            .mistake("the gradient of the sum of squares, while the loss is their mean", |p, t| mse(p, t, p.len() as f64))
            .mistake("the square is missing, as in the poster's line: every number gets the same gradient", |p, t| {
                (mse(p, t, 1.0).0, Array2::from_elem(p.dim(), -1.0 / p.len() as f64))
            })
            .hint("Differentiate with respect to one p; which terms of the sum know it?")
            .hint("The loss is a sum of terms (p − t)²/n, where n counts rows times columns. Each p stands in one of them.")
            .hint("2 (p − t)/n")
    }

    pub(super) fn gradient_is_wrong(e: Exercise<GradientIsWrong>) -> Exercise<GradientIsWrong> {
        let x = || normal::<f64, _>(6, &mut stream(64, 0));
        let tiny: Forward = |x| x.mapv(|x| 1e-8 * x * x);
        let far_off: Backward = |x, dy| dy * x.mapv(|x| 4e-8 * x);
        let last_wrong: Backward = |x, dy| {
            let mut dx = silu_gradient(x, dy);
            dx[x.len() - 1] *= 1.1;
            dx
        };
        e.case("SiLU and its gradient", move |f| f(silu, silu_gradient, &x()), false)
            .case("(x − μ)/s and its gradient", move |f| f(standardise, standardise_gradient::<true, true>, &x()), false)
            .case("SiLU, with the last number of dx 10 % too large", move |f| f(silu, last_wrong, &x()), true)
            .case("y = 10⁻⁸ x², with a gradient twice too long", move |f| f(tiny, far_off, &x()), true)
            .case("(x − μ)/s, with a gradient that forgets that μ depends on x", move |f| f(standardise, standardise_gradient::<false, true>, &x()), true)
            .case("(x − μ)/s, with a gradient that forgets that s depends on x", move |f| f(standardise, standardise_gradient::<true, false>, &x()), true)
            .mistake("the loss is a plain sum of y, which for (x − μ)/s is always 0: weigh y with random numbers", |forward, backward, x| {
                Probe { g: Array1::ones(x.len()), least: 1e-3, ..Probe::new(x) }.finds_error(forward, backward, x)
            })
            .mistake("the loss is a plain sum of y: that of (x − μ)/s never changes, and rounding is compared with rounding", |forward, backward, x| {
                Probe { g: Array1::ones(x.len()), ..Probe::new(x) }.finds_error(forward, backward, x)
            })
            .mistake("only the first number of x is moved", |forward, backward, x| {
                Probe { moved: 1, ..Probe::new(x) }.finds_error(forward, backward, x)
            })
            .mistake("the error is not compared with the size of the gradient", |forward, backward, x| {
                Probe { least: 1e3, ..Probe::new(x) }.finds_error(forward, backward, x)
            })
            .mistake("a step so small that only rounding is left: take 1e-5", |forward, backward, x| {
                Probe { h: 1e-14, ..Probe::new(x) }.finds_error(forward, backward, x)
            })
            .hint("Draw g with `normal(x.len(), &mut stream(6, 0))`; the loss is the sum of y times g, so that dy is g.")
            .hint("Move each number of x by h = 1e-5 up and down: the loss must change by 2 h times that number of dx.")
            .hint("Wrong is what is off by more than a millionth of the gradient's length.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the checks expect is itself the derivative.
    #[test]
    fn expected_gradients_are_right() {
        let x = normal(6, &mut stream(65, 0));
        assert!(!Probe::new(&x).finds_error(silu, silu_gradient, &x));
        assert!(!Probe::new(&x).finds_error(standardise, standardise_gradient::<true, true>, &x));

        let along = |loss: &dyn Fn(f64) -> f64| (loss(1e-5) - loss(-1e-5)) / 2e-5;
        let [x, w, g] = rectangular_case();
        let (dx, dw, db) = linear_gradients(&x, &w, &g);
        let (u, v): (Array2<f64>, Array2<f64>) =
            (normal(x.dim(), &mut stream(65, 1)), normal(w.dim(), &mut stream(65, 2)));
        let numeric = along(&|h| ((&x + h * &u).dot(&(&w + h * &v)) * &g + h * &g).sum());
        let exact = (dx * u).sum() + (dw * v).sum() + db.sum();
        assert!((numeric - exact).abs() < 1e-8, "{numeric} and {exact}");

        let (p, t): (Array2<f64>, Array2<f64>) =
            (normal((3, 4), &mut stream(65, 3)), normal((3, 4), &mut stream(65, 4)));
        let numeric = along(&|h| mse(&(&p + h * &t), &t, 1.0).0);
        let exact = (mse(&p, &t, 1.0).1 * &t).sum();
        assert!((numeric - exact).abs() < 1e-8, "{numeric} and {exact}");
    }
}
