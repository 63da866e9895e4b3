//! Line charts as SVG: two kinds of horizontal axis, a legend, marks. Colours come from the style sheet of the page, so
//! that a chart follows its light or dark theme. Lines differ by their dashes, not by colour alone.

use std::fmt::Write as _;

use super::number::number;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 30.0;

/// Colours and dashes in the style sheet; further lines begin again.
const STYLES: usize = 4;

/// Numbers of marks that would stand nearer to each other than this are left out.
const MARK_NUMBERS_APART: f64 = 14.0;

/// Labels of one axis, about.
const TICKS: f64 = 4.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Across {
    /// Seconds.
    Time,
    /// Percentiles, each nine as wide as the one before it, so that the tail can be seen.
    Percentile,
}

#[derive(Debug)]
pub struct Line<'a> {
    pub title: &'a str,
    pub points: &'a [(f64, f64)],
}

#[derive(Debug)]
pub struct Chart<'a> {
    pub title: String,
    pub unit: &'a str,
    pub across: Across,
    pub lines: Vec<Line<'a>>,
    /// Seconds and a text that is shown when one points at the mark. They are numbered from 1.
    pub marks: Vec<(f64, &'a str)>,
}

/// Where values lie on the picture.
struct Frame {
    across: Across,
    x_min: f64,
    x_max: f64,
    y_max: f64,
}

impl Chart<'_> {
    /// `None` when no line has two points.
    pub fn svg(&self) -> Option<String> {
        let frame = self.frame()?;
        let mut svg = format!(
            r#"<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}" xmlns="http://www.w3.org/2000/svg">"#,
            escape(&format!("{}, {}", self.title, self.unit))
        );
        let title = escape(&self.title);
        let unit = escape(self.unit);
        // Writing to a string cannot fail, here and below.
        write!(svg, r#"<text class="title" x="0" y="13">{title} <tspan class="unit">{unit}</tspan></text>"#)
            .unwrap_or_default();
        self.legend(&mut svg);
        frame.grid(&mut svg);
        self.marks(&frame, &mut svg);
        for (index, line) in self.lines.iter().enumerate() {
            if line.points.len() > 1 {
                write!(svg, r#"<path class="line s{}" d="{}"/>"#, index % STYLES, frame.path(line.points))
                    .unwrap_or_default();
            }
        }
        svg.push_str("</svg>");
        Some(svg)
    }

    fn frame(&self) -> Option<Frame> {
        let lines = || self.lines.iter().filter(|line| line.points.len() > 1);
        let points = || lines().flat_map(|line| line.points);
        let x_max = points().map(|point| point.0).reduce(f64::max)?;
        let y_max = points().map(|point| point.1).reduce(f64::max)?;
        let (x_min, x_max) = match self.across {
            Across::Time => (0.0, x_max.max(1.0)),
            // The last point is the maximum, at 100 %, which a scale of nines cannot show; it stands at the right edge.
            Across::Percentile => {
                (0.0, points().map(|point| nines(point.0)).filter(|x| x.is_finite()).fold(2.0, f64::max))
            }
        };
        // A little air above the highest value, and an axis even when all values are zero.
        let y_max = if y_max > 0.0 { y_max * 1.05 } else { 1.0 };
        Some(Frame { across: self.across, x_min, x_max, y_max })
    }

    fn legend(&self, svg: &mut String) {
        if self.lines.len() < 2 {
            return;
        }
        let mut left = 0.0;
        for (index, line) in self.lines.iter().enumerate() {
            let (style, title, right) = (index % STYLES, escape(line.title), left + 22.0);
            write!(svg, r#"<path class="line s{style}" d="M{left:.0} 28H{right:.0}"/>"#).unwrap_or_default();
            let x = right + 6.0;
            write!(svg, r#"<text class="legend" x="{x:.0}" y="32">{title}</text>"#).unwrap_or_default();
            // There is no way to measure text here; this is a good guess at the width of small letters.
            left = x + line.title.chars().count() as f64 * 5.9 + 16.0;
        }
    }

    fn marks(&self, frame: &Frame, svg: &mut String) {
        let mut numbered_at = f64::NEG_INFINITY;
        for (index, (at, text)) in self.marks.iter().enumerate().filter(|(_, mark)| mark.0 <= frame.x_max) {
            let (x, bottom, text) = (frame.x(*at), HEIGHT - BOTTOM, escape(text));
            write!(svg, r#"<path class="mark" d="M{x:.1} {TOP}V{bottom}"><title>{text}</title></path>"#)
                .unwrap_or_default();
            if x - numbered_at >= MARK_NUMBERS_APART {
                numbered_at = x;
                let (number, y) = (index + 1, TOP - 4.0);
                write!(svg, r#"<text class="tick" text-anchor="middle" x="{x:.1}" y="{y}">{number}</text>"#)
                    .unwrap_or_default();
            }
        }
    }
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        let value = match self.across {
            Across::Time => value,
            Across::Percentile => nines(value).min(self.x_max),
        };
        LEFT + (value - self.x_min) / (self.x_max - self.x_min) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - value.max(0.0) / self.y_max * (HEIGHT - TOP - BOTTOM)
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let mut path = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            let letter = if index == 0 { 'M' } else { 'L' };
            write!(path, "{letter}{:.1} {:.1}", self.x(*x), self.y(*y)).unwrap_or_default();
        }
        path
    }

    fn grid(&self, svg: &mut String) {
        let step = nice_step(self.y_max / TICKS);
        let mut value = 0.0;
        while value <= self.y_max {
            let y = self.y(value);
            let (right, below, label) = (WIDTH - RIGHT, y + 4.0, number(value));
            write!(svg, r#"<path class="grid" d="M{LEFT} {y:.1}H{right}"/>"#).unwrap_or_default();
            let x = LEFT - 8.0;
            write!(svg, r#"<text class="tick" text-anchor="end" x="{x}" y="{below:.1}">{label}</text>"#)
                .unwrap_or_default();
            value += step;
        }
        for (at, label) in self.ticks_across() {
            let (x, y) = (self.x(at), HEIGHT - 10.0);
            write!(svg, r#"<text class="tick" text-anchor="middle" x="{x:.1}" y="{y}">{label}</text>"#)
                .unwrap_or_default();
        }
    }

    fn ticks_across(&self) -> Vec<(f64, String)> {
        match self.across {
            Across::Time => {
                let step = nice_step(self.x_max / 6.0);
                let count = (self.x_max / step) as usize;
                (0..=count).map(|index| index as f64 * step).map(|at| (at, format!("{} s", number(at)))).collect()
            }
            Across::Percentile => [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999]
                .into_iter()
                .filter(|at| nines(*at) <= self.x_max)
                .map(|at| (at, if at == 0.0 { "min".to_owned() } else { format!("p{at}") }))
                .collect(),
        }
    }
}

/// 90 % is one, 99 % is two, 99.9 % is three.
fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).log10()
}

/// The first of 1, 2, 5, 10, 20 … that is at least `about`.
fn nice_step(about: f64) -> f64 {
    let power = 10_f64.powf(about.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= about).unwrap_or(about)
}

/// Text for XML, in elements and in attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML 1.0 has no way to write these.
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart<'a>(across: Across, points: &'a [(f64, f64)]) -> Chart<'a> {
        let lines = vec![Line { title: "a < b", points }, Line { title: "floor", points }];
        Chart { title: "p99 & \"more\"".to_owned(), unit: "ms", across, lines, marks: vec![(1.0, "<step>")] }
    }

    #[test]
    fn a_chart_is_well_formed_and_stays_in_its_box() {
        for (across, points) in [
            (Across::Time, vec![(0.0, 0.0), (30.0, 12.5), (60.0, 3.0)]),
            (Across::Percentile, vec![(0.0, 0.1), (50.0, 1.0), (99.9, 8.0), (100.0, 12.0)]),
        ] {
            let svg = chart(across, &points).svg().expect("a chart");
            let document = roxmltree::Document::parse(&svg).expect("well-formed");
            let lines =
                document.descendants().filter(|node| node.attribute("class").is_some_and(|c| c.starts_with("line")));
            for line in lines {
                let numbers = line.attribute("d").unwrap().split(|c: char| !c.is_ascii_digit() && c != '.' && c != '-');
                for value in numbers.filter(|text| !text.is_empty()).map(|text| text.parse::<f64>().unwrap()) {
                    assert!((0.0..=WIDTH).contains(&value), "{value} is outside");
                }
            }
        }
    }

    #[test]
    fn a_chart_of_nothing_is_none_and_one_of_zeros_is_a_line() {
        assert!(chart(Across::Time, &[]).svg().is_none());
        assert!(chart(Across::Time, &[(0.0, 1.0)]).svg().is_none());
        assert!(chart(Across::Time, &[(0.0, 0.0), (1.0, 0.0)]).svg().is_some());
    }

    #[test]
    fn each_nine_is_as_wide_as_the_one_before() {
        let widths = [nines(90.0), nines(99.0) - nines(90.0), nines(99.9) - nines(99.0)];
        assert!(widths.iter().all(|width| (width - 1.0).abs() < 1e-9), "{widths:?}");
    }

    #[test]
    fn steps_are_round() {
        assert_eq!([0.3, 1.2, 7.0, 40.0, 1_000.0].map(nice_step), [0.5, 2.0, 10.0, 50.0, 1_000.0]);
    }
}
