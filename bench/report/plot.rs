//! Plots as SVG that follow the page's colours: light and dark are one drawing.
//!
//! The library draws with fixed colours; each stands for a role and is replaced by the page's variable of it.

use plotters::coord::Shift;
use plotters::prelude::*;

/// Width and height in the drawing's units; the page scales it.
const SIZE: (u32, u32) = (960, 360);
/// The tail that a percentile plot shows: up to 1 - 1/this.
const TAIL_MAX: f64 = 1e6;

const INK: RGBColor = RGBColor(1, 2, 3);
const FAINT: RGBColor = RGBColor(1, 2, 4);
const CARD: RGBColor = RGBColor(1, 2, 5);
/// Series, in turn; more than these repeat.
const SERIES: [RGBColor; 6] = [
    RGBColor(1, 3, 1),
    RGBColor(1, 3, 2),
    RGBColor(1, 3, 3),
    RGBColor(1, 3, 4),
    RGBColor(1, 3, 5),
    RGBColor(1, 3, 6),
];

/// A named line.
#[derive(Debug, Clone)]
pub struct Line {
    /// For the legend.
    pub name: String,
    /// x and y.
    pub points: Vec<(f64, f64)>,
}

/// A bar with what it may as well be.
#[derive(Debug, Clone)]
pub struct Bar {
    /// What is compared.
    pub name: String,
    /// The ratio.
    pub value: f64,
    /// Its interval of confidence.
    pub interval: (f64, f64),
}

/// Why a plot could not be drawn.
pub type PlotError = Box<dyn std::error::Error>;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn draw(
    size: (u32, u32),
    with: impl FnOnce(&Area<'_>) -> Result<(), PlotError>,
) -> Result<String, PlotError> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        with(&area)?;
        area.present()?;
    }
    for (colour, variable) in
        [(INK, "ink".to_owned()), (FAINT, "faint".to_owned()), (CARD, "card".to_owned())]
            .into_iter()
            .chain(SERIES.into_iter().zip((1..).map(|number| format!("s{number}"))))
    {
        let RGBColor(red, green, blue) = colour;
        svg = svg.replace(&format!("#{red:02X}{green:02X}{blue:02X}"), &format!("var(--{variable})"));
    }
    Ok(svg)
}

/// Latency (ms, logarithmic) over percentile, with the tail stretched out: 90 %, 99 %, 99.9 % at equal distances.
pub fn percentiles(lines: &[Line]) -> Result<String, PlotError> {
    let tail = lines.iter().flat_map(|line| &line.points).map(|point| point.0).fold(10.0, f64::max);
    let label = |x: &f64| match x {
        x if *x < 1.5 => "0 %".to_owned(),
        x => {
            let digits = (x.log10().round() as usize).saturating_sub(2);
            format!("{:.digits$} %", 100.0 * (1.0 - 1.0 / x))
        }
    };
    over(lines, 1.0..tail.min(TAIL_MAX), true, "percentile", &label, "ms", true)
}

/// Values over the seconds of a run.
pub fn over_time(lines: &[Line], unit: &str, logarithmic: bool) -> Result<String, PlotError> {
    let end = lines.iter().flat_map(|line| &line.points).map(|point| point.0).fold(1.0, f64::max);
    // A short run has an axis with halves of seconds on it.
    let digits = usize::from(end < 10.0);
    over(lines, 0.0..end, false, "seconds", &|x| format!("{x:.digits$}"), unit, logarithmic)
}

/// Latency (ms, logarithmic) over throughput: where a sweep bends.
pub fn curve(lines: &[Line]) -> Result<String, PlotError> {
    let end = lines.iter().flat_map(|line| &line.points).map(|point| point.0).fold(1.0, f64::max);
    over(lines, 0.0..end * 1.05, false, "records per second", &|x| thousands(*x), "ms", true)
}

/// The range of y: from 0, or around the values where it is logarithmic.
fn range_of(lines: &[Line], logarithmic: bool) -> std::ops::Range<f64> {
    let values = || lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let max = values().fold(f64::MIN_POSITIVE, f64::max);
    if !logarithmic {
        return 0.0..max * 1.08;
    }
    let min = values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min).min(max);
    // Whole decades, so that the axis has labels.
    10f64.powf(min.log10().floor())..10f64.powf((max * 1.01).log10().ceil())
}

#[allow(clippy::too_many_arguments)]
fn over(
    lines: &[Line],
    x: std::ops::Range<f64>,
    x_logarithmic: bool,
    x_name: &str,
    x_label: &dyn Fn(&f64) -> String,
    unit: &str,
    y_logarithmic: bool,
) -> Result<String, PlotError> {
    let y = range_of(lines, y_logarithmic);
    let y_label = |value: &f64| format!("{} {unit}", short(*value));
    draw(SIZE, |area| {
        macro_rules! chart {
            ($x:expr, $y:expr) => {{
                let mut chart = ChartBuilder::on(area)
                    .margin(12)
                    .x_label_area_size(40)
                    .y_label_area_size(76)
                    .build_cartesian_2d($x, $y)?;
                chart
                    .configure_mesh()
                    .axis_style(FAINT)
                    .bold_line_style(FAINT.mix(0.6))
                    .light_line_style(FAINT.mix(0.15))
                    .label_style(("sans-serif", 14).into_font().color(&INK))
                    .x_desc(x_name)
                    .x_label_formatter(x_label)
                    .y_label_formatter(&y_label)
                    .draw()?;
                for (line, colour) in lines.iter().zip(SERIES.iter().cycle()) {
                    let points = line.points.iter().copied();
                    let points = points.filter(|(_, y)| !y_logarithmic || *y > 0.0);
                    chart
                        .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                        .label(&line.name)
                        .legend(move |(x, y)| {
                            PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3))
                        });
                }
                chart
                    .configure_series_labels()
                    .position(if x_logarithmic {
                        SeriesLabelPosition::LowerRight
                    } else {
                        SeriesLabelPosition::UpperLeft
                    })
                    .background_style(CARD.mix(0.8))
                    .label_font(("sans-serif", 14).into_font().color(&INK))
                    .draw()?;
            }};
        }
        match (x_logarithmic, y_logarithmic) {
            (true, true) => chart!(x.log_scale(), y.log_scale()),
            (true, false) => chart!(x.log_scale(), y),
            (false, true) => chart!(x, y.log_scale()),
            (false, false) => chart!(x, y),
        }
        Ok(())
    })
}

/// Ratios around 1, each with its interval.
pub fn bars(bars: &[Bar]) -> Result<String, PlotError> {
    let size = (SIZE.0, 60 + 34 * bars.len().max(1) as u32);
    let ends = || bars.iter().flat_map(|bar| [bar.value, bar.interval.0, bar.interval.1]);
    let (least, most) = (ends().fold(1.0, f64::min), ends().fold(1.0, f64::max));
    let names: Vec<&str> = bars.iter().map(|bar| bar.name.as_str()).collect();
    draw(size, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(32)
            .y_label_area_size(190)
            .build_cartesian_2d((least * 0.9)..(most * 1.1), 0.0..bars.len().max(1) as f64)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .axis_style(FAINT)
            .bold_line_style(FAINT.mix(0.6))
            .light_line_style(FAINT.mix(0.15))
            .label_style(("sans-serif", 14).into_font().color(&INK))
            .y_labels(0)
            .x_label_formatter(&|x| format!("{x:.2} x"))
            .draw()?;
        for (row, (bar, name)) in bars.iter().zip(&names).enumerate() {
            let top = bars.len() as f64 - row as f64;
            let (low, high) = (top - 0.75, top - 0.25);
            let colour = SERIES[0];
            chart.draw_series([Rectangle::new([(1.0, low), (bar.value, high)], colour.mix(0.5).filled())])?;
            let middle = (low + high) / 2.0;
            let whisker = [(bar.interval.0, middle), (bar.interval.1, middle)];
            chart.draw_series(LineSeries::new(whisker, INK.stroke_width(2)))?;
            let at = chart.backend_coord(&(least * 0.9, middle));
            let style = ("sans-serif", 14).into_font().color(&INK);
            area.draw_text(name, &style, (12, at.1 - 8))?;
        }
        let one = [(1.0, 0.0), (1.0, bars.len().max(1) as f64)];
        chart.draw_series(LineSeries::new(one, INK.stroke_width(1)))?;
        Ok(())
    })
}

fn thousands(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.1} M", value / 1e6),
        value if value >= 1e3 => format!("{:.0} k", value / 1e3),
        value => format!("{value:.0}"),
    }
}

/// Three digits at most.
pub fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.01 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(f64, f64)]) -> Line {
        Line { name: "a <b> & c".to_owned(), points: points.to_vec() }
    }

    #[test]
    fn a_plot_has_the_pages_colours_and_none_of_its_own() {
        let lines = [line(&[(1.0, 0.5), (10.0, 2.0), (1000.0, 30.0)])];
        for svg in [percentiles(&lines), over_time(&lines, "ms", true), over_time(&lines, "MB/s", false)] {
            let svg = svg.expect("draws");
            assert!(svg.contains("var(--ink)") && svg.contains("var(--s1)"), "{svg}");
            assert!(!svg.contains("\"#"), "{svg}");
            assert!(svg.contains("a &lt;b&gt; &amp; c") && !svg.contains("<b>"), "text is escaped");
        }
    }

    #[test]
    fn nothing_to_show_is_an_empty_plot_and_not_a_fault() {
        for lines in [Vec::new(), vec![line(&[])], vec![line(&[(0.0, 0.0)])]] {
            percentiles(&lines).expect("draws");
            over_time(&lines, "ms", true).expect("draws");
            curve(&lines).expect("draws");
        }
        bars(&[]).expect("draws");
        bars(&[Bar { name: "p99".to_owned(), value: 2.0, interval: (1.5, 2.5) }]).expect("draws");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.5, 1.234, 12.34, 1234.5].map(short), ["0", "0.500", "1.23", "12.3", "1234"]);
        assert_eq!([5.0, 12_000.0, 3_400_000.0].map(thousands), ["5", "12 k", "3.4 M"]);
    }
}
