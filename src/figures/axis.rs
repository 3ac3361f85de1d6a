//! Axes: from numbers to places, and the ticks a reader would choose.

/// How numbers are spread along an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Equal steps for equal differences.
    #[default]
    Linear,
    /// Equal steps for equal factors; numbers ≤ 0 can't be shown.
    Log,
}

/// One axis with its range, `from` < `to`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) scale: Scale,
    pub(super) from: f64,
    pub(super) to: f64,
}

/// A tick with its label; minor ticks have none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) value: f64,
    pub(super) label: Option<String>,
}

impl Axis {
    /// An axis over all `values` that it can show, with `pad` (a share of its length) at both ends.
    ///
    /// A linear axis that would begin a little above zero begins at zero.
    pub(super) fn over(values: impl Iterator<Item = f64>, scale: Scale, pad: f64) -> Axis {
        // beyond 1e±150 a difference or a ratio may overflow
        let shown = values.filter(|v| v.abs() < 1e150 && (scale == Scale::Linear || *v > 1e-150));
        let (min, max) =
            shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), v| (min.min(v), max.max(v)));
        let (from, to) = match scale {
            _ if min > max => (if scale == Scale::Log { 0.1 } else { 0.0 }, 1.0),
            Scale::Log if min == max => (min / 2.0, max * 2.0),
            Scale::Log => {
                let margin = (max / min).powf(pad);
                (min / margin, max * margin)
            }
            Scale::Linear if min == max => (min - 0.5 * min.abs().max(1.0), max + 0.5 * max.abs().max(1.0)),
            Scale::Linear => {
                let margin = pad * (max - min);
                let near_zero = min >= 0.0 && min < if pad > 0.0 { 0.3 } else { 0.05 } * max;
                (if near_zero { 0.0 } else { min - margin }, max + margin)
            }
        };
        Axis { scale, from, to }
    }

    /// Where `value` lies: 0 at `from`, 1 at `to`; not finite if it can't be shown.
    pub(super) fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Log if value > 0.0 => (value / self.from).ln() / (self.to / self.from).ln(),
            Scale::Log => f64::NAN,
        }
    }

    /// At most about `most` labelled ticks, and minor ones between them.
    pub(super) fn ticks(&self, most: usize) -> Vec<Tick> {
        let mut ticks = match self.scale {
            Scale::Log if self.to / self.from >= 20.0 => self.decades(most),
            _ => self.round_steps(most),
        };
        let within = |tick: &Tick| (-1e-9..=1.0 + 1e-9).contains(&self.place(tick.value));
        ticks.retain(within);
        ticks
    }

    /// Multiples of 1, 2 or 5 times a power of ten.
    fn round_steps(&self, most: usize) -> Vec<Tick> {
        let rough = (self.to - self.from) / most as f64;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|m| m * power)
            .into_iter()
            .find(|&s| s >= rough * 0.999)
            .unwrap_or(rough);
        let decimals = (-(step * 1.000_001).log10().floor()).max(0.0) as usize;
        let (first, last) = ((self.from / step - 1e-9).ceil() as i64, (self.to / step + 1e-9).floor() as i64);
        let tick = |i: i64| Tick { value: i as f64 * step, label: Some(number(i as f64 * step, decimals)) };
        (first..=last).map(tick).collect()
    }

    /// Powers of ten, every second or third if there are many; 2…9 between them, of which few decades label 2 and 5.
    fn decades(&self, most: usize) -> Vec<Tick> {
        let (first, last) = (self.from.log10().floor() as i32, self.to.log10().ceil() as i32);
        let every = ((last - first) as usize).div_ceil(most + 1).max(1) as i32;
        let plain = first >= -3 && last <= 4 && self.from >= 0.009 && self.to < 20_000.0;
        let label = |e: i32| match e {
            _ if plain => number(10_f64.powi(e), (-e).max(0) as usize),
            _ => format!("10^{{{}}}", number(f64::from(e), 0)),
        };
        let mut ticks = Vec::new();
        for e in first..=last {
            let labelled = e.rem_euclid(every) == 0;
            ticks.push(Tick { value: 10_f64.powi(e), label: labelled.then(|| label(e)) });
            if every == 1 {
                let few = plain && self.to / self.from < 400.0;
                ticks.extend((2..10).map(|m| {
                    let value = f64::from(m) * 10_f64.powi(e);
                    let label = (few && (m == 2 || m == 5)).then(|| number(value, (-e).max(0) as usize));
                    Tick { value, label }
                }));
            }
        }
        ticks
    }
}

/// A number with a true minus sign.
pub(super) fn number(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.trim_start_matches(['-', '0', '.']).is_empty() {
        text.replace('-', "")
    } else {
        text.replace('-', "−")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis, most: usize) -> Vec<String> {
        axis.ticks(most).into_iter().filter_map(|tick| tick.label).collect()
    }

    #[test]
    fn linear_ticks_are_round_numbers() {
        let axis = |from, to| Axis { scale: Scale::Linear, from, to };
        assert_eq!(labels(axis(0.0, 1000.0), 5), ["0", "200", "400", "600", "800", "1000"]);
        assert_eq!(labels(axis(-0.21, 0.43), 5), ["−0.2", "0.0", "0.2", "0.4"]);
        assert_eq!(labels(axis(0.0, 0.0011), 4), ["0.0000", "0.0005", "0.0010"]);
        assert_eq!(labels(axis(3.0, 4.0), 5), ["3.0", "3.2", "3.4", "3.6", "3.8", "4.0"]);
    }

    #[test]
    fn log_ticks_are_powers_of_ten() {
        let axis = |from, to| Axis { scale: Scale::Log, from, to };
        assert_eq!(labels(axis(1.0, 1000.0), 6), ["1", "10", "100", "1000"]);
        assert_eq!(
            labels(axis(1e-5, 2.0), 6),
            ["10^{−5}", "10^{−4}", "10^{−3}", "10^{−2}", "10^{−1}", "10^{0}"]
        );
        assert_eq!(
            labels(axis(1e-12, 1.0), 6),
            ["10^{−12}", "10^{−10}", "10^{−8}", "10^{−6}", "10^{−4}", "10^{−2}", "10^{0}"]
        );
        assert_eq!(labels(axis(2.0, 9.0), 4), ["2", "4", "6", "8"]);
    }

    #[test]
    fn an_axis_covers_what_it_can_show() {
        let axis = Axis::over([3.0, f64::NAN, 100.0, f64::INFINITY].into_iter(), Scale::Linear, 0.05);
        assert_eq!((axis.from, axis.place(axis.to)), (0.0, 1.0));
        let axis = Axis::over([-1.0, 0.0, 1e-3, 10.0].into_iter(), Scale::Log, 0.0);
        assert_eq!((axis.from, axis.to), (1e-3, 10.0));
        assert!((axis.place(0.1) - 0.5).abs() < 1e-12 && axis.place(0.0).is_nan());
        for scale in [Scale::Linear, Scale::Log] {
            for values in [&[][..], &[7.0], &[0.0]] {
                let axis = Axis::over(values.iter().copied(), scale, 0.05);
                assert!(axis.from < axis.to, "{axis:?}");
                assert!(!axis.ticks(5).is_empty(), "{axis:?}");
            }
        }
    }
}
