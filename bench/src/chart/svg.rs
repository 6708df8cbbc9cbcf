//! As much of SVG as the charts need: bars, whiskers and words on a white ground.

use std::fmt::Write;

/// A document that grows.
pub(super) struct Svg {
    body: String,
    width: f64,
    height: f64,
}

/// Which end of a text stands at its place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    End,
}

/// The text that was written last.
pub(super) struct Written<'a> {
    svg: &'a mut Svg,
    from: usize,
}

impl Svg {
    /// Empty, of so many pixels.
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { body: String::new(), width, height }
    }

    /// Words whose base line is at `y`.
    pub(super) fn text(&mut self, x: f64, y: f64, size: f64, colour: &str, anchor: Anchor, words: &str) -> Written<'_> {
        let from = self.body.len();
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::End => "end",
        };
        let words = escaped(words);
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" fill=\"{colour}\" text-anchor=\"{anchor}\">{words}</text>"
        ));
        Written { svg: self, from }
    }

    /// A bar that goes to the right from its upper left corner.
    pub(super) fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str) {
        self.push(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
        ));
    }

    /// A line from `left` to `right` with a stroke across at either end.
    pub(super) fn whisker(&mut self, left: f64, right: f64, y: f64, across: f64, colour: &str) {
        let (top, bottom) = (y - across / 2.0, y + across / 2.0);
        self.push(format_args!(
            "<path d=\"M{left:.1} {y:.1}H{right:.1}M{left:.1} {top:.1}V{bottom:.1}M{right:.1} {top:.1}V{bottom:.1}\" \
             stroke=\"{colour}\" stroke-width=\"1.2\" fill=\"none\"/>"
        ));
    }

    /// The document.
    pub(super) fn finish(self) -> String {
        let Self { body, width, height } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"system-ui, sans-serif\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
        )
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.body, "{element}");
    }
}

impl Written<'_> {
    /// In bold letters.
    pub(super) fn bold(self) {
        self.svg.body.insert_str(self.from + "<text".len(), " font-weight=\"600\"");
    }
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_cannot_become_elements() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text(1.0, 2.0, 12.0, "#000", Anchor::End, "a <= b & c").bold();
        svg.bar(1.0, 2.0, 3.0, 4.0, "#111");
        svg.whisker(1.0, 9.0, 5.0, 4.0, "#222");
        let text = svg.finish();
        assert!(text.contains(">a &lt;= b &amp; c</text>"), "{text}");
        assert!(text.contains("<text font-weight=\"600\" x=\"1.0\""), "{text}");
        assert!(text.contains("<rect x=\"1.0\" y=\"2.0\" width=\"3.0\" height=\"4.0\""), "{text}");
        assert!(text.contains("d=\"M1.0 5.0H9.0M1.0 3.0V7.0M9.0 3.0V7.0\""), "{text}");
    }
}
