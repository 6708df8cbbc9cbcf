//! The series of a long run as one SVG: a panel a quantity, one above the other, with the ends of the
//! agent marked.

use std::fmt::Write;

use super::report::Report;
use super::samples::Sample;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const PANEL: f64 = 110.0;
const GAP: f64 = 34.0;
const COLOURS: [&str; 2] = ["#1f6feb", "#d1801f"];

/// A line with its name.
type Line = (&'static str, fn(&Sample) -> f64);

/// One quantity, and one or two lines of it.
struct Panel {
    title: &'static str,
    lines: &'static [Line],
}

const PANELS: [Panel; 5] = [
    Panel { title: "resident memory, MiB", lines: &[("", |sample| sample.resident_kib as f64 / 1024.0)] },
    Panel {
        title: "descriptors",
        lines: &[("open", |sample| sample.descriptors as f64), ("streams", |sample| sample.streams as f64)],
    },
    Panel { title: "threads", lines: &[("", |sample| sample.threads as f64)] },
    Panel { title: "processor, % of one", lines: &[("", |sample| sample.cpu_percent)] },
    Panel {
        title: "on disk, MiB",
        lines: &[
            ("store", |sample| sample.store_bytes as f64 / 1_048_576.0),
            ("audit record", |sample| sample.audit_bytes as f64 / 1_048_576.0),
        ],
    },
];

/// The chart.
pub(super) fn of(report: &Report) -> String {
    let samples = &report.series.samples;
    let end = samples.last().map_or(1.0, |sample| sample.at).max(1.0);
    let height = TOP + PANELS.len() as f64 * (PANEL + GAP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">countersign under churn and faults, {:.0} minutes; dashed: \
         the agent was restarted</text>\n",
        end / 60.0
    );
    for (number, panel) in PANELS.iter().enumerate() {
        let top = TOP + number as f64 * (PANEL + GAP) + 14.0;
        panel.draw(&mut svg, samples, top, end);
        for mark in &report.series.restarts {
            let x = across(mark.at, end);
            put(
                &mut svg,
                &format!(
                    "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{:.1}\" stroke=\"#c0392b\" \
                 stroke-dasharray=\"3 3\"><title>{}</title></line>",
                    top + PANEL,
                    mark.signal
                ),
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

impl Panel {
    fn draw(&self, svg: &mut String, samples: &[Sample], top: f64, end: f64) {
        let values = self.lines.iter().flat_map(|(_, of)| samples.iter().map(of));
        let most = rounded_up(values.fold(0.0, f64::max));
        let down = |value: f64| top + PANEL * (1.0 - value / most);
        put(svg, &format!("<text x=\"{LEFT}\" y=\"{:.1}\">{}</text>", top - 6.0, self.title));
        for part in [0.0, 0.5, 1.0] {
            let (value, y) = (most * part, down(most * part));
            put(
                svg,
                &format!(
                    "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
                    WIDTH - RIGHT,
                    LEFT - 6.0,
                    y + 4.0
                ),
            );
        }
        for (number, (name, of)) in self.lines.iter().enumerate() {
            let colour = COLOURS.get(number).unwrap_or(&"#000");
            let points: Vec<String> =
                samples.iter().map(|sample| format!("{:.1},{:.1}", across(sample.at, end), down(of(sample)))).collect();
            let points = points.join(" ");
            put(
                svg,
                &format!("<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.3\" points=\"{points}\"/>"),
            );
            let x = WIDTH - RIGHT - 110.0 * (self.lines.len() - number - 1) as f64;
            put(
                svg,
                &format!("<text x=\"{x}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{colour}\">{name}</text>", top - 6.0),
            );
        }
        for part in 0..=6 {
            let at = end * f64::from(part) / 6.0;
            put(
                svg,
                &format!(
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#777\">{}</text>",
                    across(at, end),
                    top + PANEL + 13.0,
                    clock(at)
                ),
            );
        }
    }
}

fn put(svg: &mut String, element: &str) {
    // A String takes everything.
    let _ = writeln!(svg, "{element}");
}

fn across(at: f64, end: f64) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * at / end
}

/// Minutes and seconds.
fn clock(seconds: f64) -> String {
    let minutes = (seconds / 60.0).floor();
    format!("{minutes:.0}:{:02.0}", (seconds - 60.0 * minutes).floor())
}

/// The next of 1, 2, 5, 10, 20, 50 and so on: an axis whose half is a short number too.
fn rounded_up(value: f64) -> f64 {
    let steps = (0..16).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
    steps.into_iter().find(|step| *step >= value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_short_number() {
        for (value, end) in [(0.0, 1.0), (0.4, 1.0), (1.5, 2.0), (12.0, 20.0), (50.0, 50.0), (51.0, 100.0)] {
            assert_eq!(rounded_up(value), end);
        }
    }

    #[test]
    fn a_panel_has_a_point_for_each_sample() {
        let samples: Vec<Sample> =
            (0..5).map(|at| Sample { at: f64::from(at), threads: 3, ..Sample::default() }).collect();
        let mut svg = String::new();
        PANELS[2].draw(&mut svg, &samples, 0.0, 4.0);
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(points.split(' ').count(), 5);
        assert_eq!(clock(125.0), "2:05");
    }
}
