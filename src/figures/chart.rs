//! A chart: named axes, lines, points, bands; every plotted figure is made of these.

use super::axis::Scale;
use super::page::Point;
use super::{Figure, style};
use ndarray::Array2;

/// One chart, built series by series.
///
/// Names and labels may hold subscripts and superscripts, `L_{t−1}`, `σ^{2}`. A series with an empty name has no
/// entry in the legend, which stands above the data and never on them. Numbers that are not finite leave gaps.
///
/// ```
/// use ddpm::figures::Chart;
/// let x = [0.0, 1.0, 2.0];
/// let figure = Chart::new("x", "y").title("two lines").line("up", &x, &x).line("down", &x, &[2.0, 1.0, 0.0]).figure();
/// assert_eq!(figure.size(), (900, 600));
/// ```
#[derive(Clone, Debug)]
pub struct Chart {
    pub(super) title: String,
    pub(super) x: Dimension,
    pub(super) y: Dimension,
    pub(super) layers: Vec<Layer>,
    colours: usize,
    pub(super) square: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Dimension {
    pub(super) label: String,
    pub(super) scale: Scale,
    pub(super) range: Option<(f64, f64)>,
}

/// A series, with the colour and the dash of its number.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) number: Option<usize>,
    pub(super) points: Vec<Point>,
    pub(super) mark: Mark,
}

#[derive(Clone, Debug)]
pub(super) enum Mark {
    /// A line; `strength` below 1 is fainter.
    Line { strength: f64 },
    /// Discs of a radius.
    Points { radius: f64 },
    /// The area between these and `points`.
    Band { upper: Vec<Point> },
    /// Bars from `points` up to these.
    Bars { upper: Vec<Point> },
    /// Values over the rectangle between the two `points`.
    Heat { values: Array2<f64> },
    /// A word beside a point.
    Note { text: String },
}

impl Chart {
    /// An empty chart with the labels of its axes, units included.
    pub fn new(x_label: impl Into<String>, y_label: impl Into<String>) -> Self {
        let dimension = |label| Dimension { label, scale: Scale::Linear, range: None };
        let (x, y) = (dimension(x_label.into()), dimension(y_label.into()));
        Chart { title: String::new(), x, y, layers: Vec::new(), colours: 0, square: false }
    }

    /// A title above the chart.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// The scales of both axes; linear unless said otherwise.
    pub fn scales(mut self, x: Scale, y: Scale) -> Self {
        (self.x.scale, self.y.scale) = (x, y);
        self
    }

    /// The range of the x axis; all data unless said otherwise.
    #[track_caller]
    pub fn x_range(mut self, from: f64, to: f64) -> Self {
        assert!(from < to, "Chart: an axis from {from} to {to}");
        self.x.range = Some((from, to));
        self
    }

    /// The range of the y axis.
    #[track_caller]
    pub fn y_range(mut self, from: f64, to: f64) -> Self {
        assert!(from < to, "Chart: an axis from {from} to {to}");
        self.y.range = Some((from, to));
        self
    }

    /// A square plot, for points of the plane.
    pub fn square(mut self) -> Self {
        self.square = true;
        self
    }

    /// A line through (`x`, `y`), in the next colour.
    ///
    /// # Panics
    /// Here and below: if the slices differ in length.
    #[track_caller]
    pub fn line(mut self, name: impl Into<String>, x: &[f64], y: &[f64]) -> Self {
        self.colours += 1;
        self.push(name, zip(x, y), Mark::Line { strength: 1.0 })
    }

    /// A faint line behind the next series, in that series' colour and without an entry in the legend.
    #[track_caller]
    pub fn faint_line(mut self, x: &[f64], y: &[f64]) -> Self {
        self.colours += 1;
        self = self.push("", zip(x, y), Mark::Line { strength: 0.3 });
        self.colours -= 1;
        self
    }

    /// A horizontal or slanted line in grey: a reference that is no series.
    #[track_caller]
    pub fn reference(mut self, name: impl Into<String>, x: &[f64], y: &[f64]) -> Self {
        let points = zip(x, y);
        self.layers.push(Layer {
            name: name.into(),
            number: None,
            points,
            mark: Mark::Line { strength: 1.0 },
        });
        self
    }

    /// Discs at (`x`, `y`), in the next colour; small ones if they are many.
    #[track_caller]
    pub fn points(mut self, name: impl Into<String>, x: &[f64], y: &[f64]) -> Self {
        self.colours += 1;
        let radius = if x.len() > 500 { 3.0 } else { 8.0 };
        self.push(name, zip(x, y), Mark::Points { radius })
    }

    /// Discs in the colour of the series before, on top of it.
    #[track_caller]
    pub fn marks(self, x: &[f64], y: &[f64]) -> Self {
        self.push("", zip(x, y), Mark::Points { radius: 9.0 })
    }

    /// A band from `lower` to `upper` in the colour of the series before, behind it; `±` one standard error, say.
    #[track_caller]
    pub fn band(self, x: &[f64], lower: &[f64], upper: &[f64]) -> Self {
        self.push("", zip(x, lower), Mark::Band { upper: zip(x, upper) })
    }

    /// Error bars from `lower` to `upper` in the colour of the series before.
    #[track_caller]
    pub fn bars(self, x: &[f64], lower: &[f64], upper: &[f64]) -> Self {
        self.push("", zip(x, lower), Mark::Bars { upper: zip(x, upper) })
    }

    /// A heat map, such as a density: `values[[i, j]]` covers the `i`-th of equal steps in `y` and the `j`-th in `x`.
    ///
    /// White is 0 or less, full colour the largest value. Axes must be linear.
    ///
    /// # Panics
    /// If there are no values.
    #[track_caller]
    pub fn heat(mut self, x: (f64, f64), y: (f64, f64), values: &Array2<f64>) -> Self {
        assert!(!values.is_empty(), "Chart: a heat map of {:?} values", values.dim());
        self.colours += 1;
        self.push("", vec![(x.0, y.0), (x.1, y.1)], Mark::Heat { values: values.clone() })
    }

    /// A word beside (`x`, `y`).
    pub fn note(self, text: impl Into<String>, x: f64, y: f64) -> Self {
        self.push("", vec![(x, y)], Mark::Note { text: text.into() })
    }

    fn push(mut self, name: impl Into<String>, points: Vec<Point>, mark: Mark) -> Self {
        let number = Some(self.colours.saturating_sub(1));
        self.layers.push(Layer { name: name.into(), number, points, mark });
        self
    }

    /// The chart as a figure of 900×600 pixels, or 700×700 if square.
    pub fn figure(self) -> Figure {
        let (w, h) = if self.square { (700, 700) } else { (900, 600) };
        Figure::new(w, h, move |page| self.draw(page, page.inside(style::MARGIN)))
    }

    /// Charts in rows of `columns`, each of `width`×`height` pixels, as one figure.
    ///
    /// # Panics
    /// If `columns` is 0 or there is no chart.
    #[track_caller]
    pub fn panels(charts: Vec<Chart>, columns: usize, (width, height): (u32, u32)) -> Figure {
        assert!(
            columns > 0 && !charts.is_empty(),
            "Chart::panels: {} charts in {columns} columns",
            charts.len()
        );
        let rows = charts.len().div_ceil(columns);
        Figure::new(width * columns as u32, height * rows as u32, move |page| {
            let inside = page.inside(style::MARGIN);
            charts.iter().enumerate().try_for_each(|(i, chart)| {
                chart
                    .draw(page, inside.cell((rows, columns), (i / columns, i % columns), 2.0 * style::MARGIN))
            })
        })
    }
}

#[track_caller]
fn zip(x: &[f64], y: &[f64]) -> Vec<Point> {
    assert_eq!(x.len(), y.len(), "Chart: {} x values, {} y values", x.len(), y.len());
    x.iter().copied().zip(y.iter().copied()).collect()
}
