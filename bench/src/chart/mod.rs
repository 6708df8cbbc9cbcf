//! A scenario as a picture: for each line a panel with bars of ours, theirs and the floor, on a
//! scale of its own, since their units differ.

mod svg;

use crate::figure;
use crate::findings::Line;
use crate::reading::Aim;
use crate::report::{Findings, Report};
use crate::spread::Spread;
use svg::{Anchor, Svg};

const WIDTH: f64 = 860.0;
const MARGIN: f64 = 24.0;
/// Where bars begin, and how long the longest is; behind it is its figure.
const BARS_AT: f64 = 84.0;
const BARS_WIDE: f64 = 540.0;
const BAR: f64 = 16.0;
const BAR_STEP: f64 = 21.0;
const PANEL_HEAD: f64 = 20.0;
const PANEL_GAP: f64 = 14.0;
const HEAD: f64 = 84.0;
const FOOT: f64 = 46.0;

const INK: &str = "#1f2328";
const PALE: &str = "#59636e";
const OURS: &str = "#2f6fb0";
const THEIRS: &str = "#c07a2c";
const FLOOR: &str = "#9aa4ae";
const MET: &str = "#2b7a3d";
const NOT_MET: &str = "#b3261e";

/// The chart of `findings`, an SVG document.
pub(crate) fn of(findings: &Findings, report: &Report) -> String {
    let panels: f64 = findings.lines.iter().map(|line| panel_height(line) + PANEL_GAP).sum();
    let mut svg = Svg::new(WIDTH, HEAD + panels + FOOT);
    svg.text(MARGIN, 28.0, 17.0, INK, Anchor::Start, &findings.name).bold();
    svg.text(MARGIN, 47.0, 12.0, INK, Anchor::Start, findings.about.question);
    svg.text(MARGIN, 64.0, 12.0, PALE, Anchor::Start, &format!("floor: {}", findings.about.floor));
    let mut top = HEAD;
    for line in &findings.lines {
        panel(&mut svg, line, top);
        top += panel_height(line) + PANEL_GAP;
    }
    let machine = &report.machine;
    let quick = if report.setting.plan.quick { "; QUICK: shows only that it works" } else { "" };
    let how = format!("bars: median of {} rounds, whiskers: smallest and largest{quick}", findings.rounds.len());
    let machine = format!("{}, kernel {}, {} x {}", report.began, machine.kernel, machine.cores, machine.processor);
    for (words, down) in [(how, 14.0), (machine, 30.0)] {
        svg.text(MARGIN, top + down, 11.0, PALE, Anchor::Start, &words);
    }
    svg.finish()
}

/// The bars of a line: who, how long, in which colour.
fn bars(line: &Line) -> Vec<(&'static str, Spread, &'static str)> {
    let theirs = line.theirs.map(|spread| ("theirs", spread, THEIRS));
    let floor = line.floor.map(|spread| ("floor", spread, FLOOR));
    [Some(("ours", line.ours, OURS)), theirs, floor].into_iter().flatten().collect()
}

fn panel_height(line: &Line) -> f64 {
    PANEL_HEAD + bars(line).len() as f64 * BAR_STEP
}

fn panel(svg: &mut Svg, line: &Line, top: f64) {
    svg.text(MARGIN, top + 12.0, 12.5, INK, Anchor::Start, &format!("{} [{}]", line.name, line.unit)).bold();
    svg.text(WIDTH - MARGIN, top + 12.0, 12.0, verdict_colour(line), Anchor::End, &verdict(line));
    let bars = bars(line);
    let longest = bars.iter().map(|(_, spread, _)| spread.max).fold(0.0, f64::max);
    let scale = if longest > 0.0 { BARS_WIDE / longest } else { 0.0 };
    let mut at = top + PANEL_HEAD;
    for (who, spread, colour) in bars {
        let middle = at + BAR / 2.0;
        svg.text(BARS_AT - 8.0, middle + 4.0, 12.0, PALE, Anchor::End, who);
        svg.bar(BARS_AT, at, (spread.median * scale).max(1.0), BAR, colour);
        if spread.min < spread.max {
            svg.whisker(BARS_AT + spread.min * scale, BARS_AT + spread.max * scale, middle, BAR / 2.0, INK);
        }
        let after = BARS_AT + spread.max * scale + 8.0;
        svg.text(after, middle + 4.0, 12.0, INK, Anchor::Start, &figure::number(spread.median));
        at += BAR_STEP;
    }
}

/// "ratio 0.42 (0.40-0.44), aim >= 0.80: NOT MET", as much of it as there is.
fn verdict(line: &Line) -> String {
    let mut parts = Vec::new();
    if let Some(beside) = figure::beside(line) {
        let is_ratio = !matches!(line.aim, Some(Aim::AboveAtMost(_)));
        parts.push(if is_ratio { format!("ratio {beside}") } else { beside });
    }
    if let Some(theirs) = line.theirs_ratio {
        parts.push(format!("theirs {}", figure::ratio(theirs)));
    }
    if let Some(aim) = line.aim {
        parts.push(format!("aim {}: {}", figure::aim(aim, &line.unit), figure::met(line.met)));
    }
    parts.join(", ")
}

fn verdict_colour(line: &Line) -> &'static str {
    match line.met {
        Some(true) => MET,
        Some(false) => NOT_MET,
        None => PALE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::lines;
    use crate::reading::Reading;

    #[test]
    fn the_verdict_says_ratio_aim_and_outcome() {
        let reading = Reading::beside("it", "us", 3.0, 2.0);
        let line = |reading: Reading| lines(&[vec![reading]]).remove(0);
        assert_eq!(verdict(&line(reading.clone())), "ratio 1.50");
        assert_eq!(verdict(&line(reading.aiming(Aim::RatioAtMost(1.2)))), "ratio 1.50, aim <= 1.20: NOT MET");
        assert_eq!(verdict(&line(Reading::alone("it", "MB", 3.0).aiming(Aim::AtMost(12.0)))), "aim <= 12.0 MB: met");
        let above = Reading::beside("it", "us", 30.0, 20.0).aiming(Aim::AboveAtMost(50.0));
        assert_eq!(verdict(&line(above)), "10.0 above, aim <= 50.0 us above: met");
    }

    #[test]
    fn a_panel_is_as_high_as_its_bars() {
        let line = |reading: Reading| lines(&[vec![reading]]).remove(0);
        let one = panel_height(&line(Reading::alone("it", "us", 3.0)));
        assert_eq!(panel_height(&line(Reading::beside("it", "us", 3.0, 2.0))) - one, BAR_STEP);
    }
}
