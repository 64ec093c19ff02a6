//! A picture with panels of lines and points, as SVG. All text is our own.

use std::fmt::Write;

/// Width and height of what is drawn in a panel, in pixels.
const INNER: (f64, f64) = (300.0, 260.0);
/// Space at the left of it, for the marks of the axis.
const LEFT: f64 = 70.0;
/// Space above it, for heading and legend.
const TOP: f64 = 100.0;
/// Space below it, for marks and the name of the axis.
const BOTTOM: f64 = 60.0;
/// From the left edge of a panel to that of the next one.
const PITCH: f64 = LEFT + INNER.0 + 30.0;

const STYLE: &str = "\
svg { max-width: 100%; height: auto; background: #ffffff; }
text { font: 12px system-ui, \"Noto Sans\", \"DejaVu Sans\", sans-serif; fill: #16191d; }
.title { font-size: 20px; font-weight: bold; }
.heading { font-size: 15px; font-weight: bold; }
.mark { fill: #4a525c; }
.ground { fill: #ffffff; }
.grid { stroke: #c3c9d0; stroke-width: 1; }
.ours { stroke: #7a3fa0; fill: #7a3fa0; }
.peer { stroke: #b8590d; fill: #b8590d; }
.other { stroke: #1d7a3d; fill: #1d7a3d; }
polyline { fill: none !important; stroke-width: 2; }
circle { stroke: none !important; }
@media screen and (prefers-color-scheme: dark) {
  svg { background: #14171a; }
  text { fill: #eceff2; }
  .mark { fill: #b6bfc9; }
  .ground { fill: #14171a; }
  .grid { stroke: #3c444d; }
  .ours { stroke: #c79be6; fill: #c79be6; }
  .peer { stroke: #f3a862; fill: #f3a862; }
  .other { stroke: #6fd08c; fill: #6fd08c; }
}
";

/// An axis from the least to the greatest value.
pub(crate) struct Axis {
    pub(crate) name: &'static str,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Whether equal distances are equal ratios.
    pub(crate) is_logarithmic: bool,
    pub(crate) marks: Vec<(f64, String)>,
}

impl Axis {
    /// Where a value is, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        if self.is_logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }
}

/// What was measured of one program.
pub(crate) struct Series {
    pub(crate) class: &'static str,
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
    /// Whether a line joins the points.
    pub(crate) is_line: bool,
}

pub(crate) struct Panel {
    pub(crate) heading: &'static str,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}

/// Returns the document. `description` says the same in words.
pub(crate) fn svg(title: &str, description: &str, panels: &[Panel]) -> String {
    let columns = u32::try_from(panels.len()).unwrap();
    let (width, height) = (PITCH.mul_add(f64::from(columns), 20.0), TOP + INNER.1 + BOTTOM + 40.0);
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-labelledby=\"title description\">\n\
         <title id=\"title\">{title}</title>\n<desc id=\"description\">{description}</desc>\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{width:.0}\" height=\"{height:.0}\"/>\n\
         <text class=\"title\" x=\"16\" y=\"32\">{title}</text>\n"
    );
    for (number, panel) in (0_u32..).zip(panels) {
        let _ = writeln!(out, "<g transform=\"translate({:.0} 40)\">", PITCH * f64::from(number));
        draw(&mut out, panel);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, panel: &Panel) {
    let x = |value| INNER.0.mul_add(panel.x.place(value), LEFT);
    let y = |value| INNER.1.mul_add(1.0 - panel.y.place(value), TOP);
    let (right, bottom) = (LEFT + INNER.0, TOP + INNER.1);
    let _ = writeln!(out, "<text class=\"heading\" x=\"16\" y=\"24\">{}</text>", panel.heading);
    let _ = writeln!(out, "<text class=\"mark\" x=\"16\" y=\"{:.0}\">{}</text>", TOP - 12.0, panel.y.name);
    let (middle, below) = (LEFT + INNER.0 / 2.0, bottom + 40.0);
    let _ = writeln!(
        out,
        "<text class=\"mark\" text-anchor=\"middle\" x=\"{middle:.0}\" y=\"{below:.0}\">{}</text>",
        panel.x.name
    );
    for (value, mark) in &panel.x.marks {
        let (at, below) = (x(*value), bottom + 18.0);
        let _ = writeln!(out, "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>");
        let _ =
            writeln!(out, "<text class=\"mark\" text-anchor=\"middle\" x=\"{at:.1}\" y=\"{below:.0}\">{mark}</text>");
    }
    for (value, mark) in &panel.y.marks {
        let (at, base, end) = (y(*value), y(*value) + 4.0, LEFT - 8.0);
        let _ = writeln!(out, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>");
        let _ = writeln!(out, "<text class=\"mark\" text-anchor=\"end\" x=\"{end:.0}\" y=\"{base:.1}\">{mark}</text>");
    }
    for (number, series) in (0_u32..).zip(&panel.series) {
        let (class, name) = (series.class, series.name);
        let at = 150.0_f64.mul_add(f64::from(number), 21.0);
        let _ = writeln!(
            out,
            "<circle class=\"{class}\" cx=\"{at:.0}\" cy=\"48\" r=\"5\"/><text x=\"{:.0}\" y=\"52\">{name}</text>",
            at + 10.0
        );
        let places: Vec<(f64, f64)> = series.points.iter().map(|(at, value)| (x(*at), y(*value))).collect();
        if series.is_line {
            let points: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(out, "<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
        }
        for ((x, y), (at, value)) in places.iter().zip(&series.points) {
            // Points without a line are many.
            let _ = if series.is_line {
                writeln!(
                    out,
                    "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\">\
                     <title>{name}: {at:.0}, {value:.3}</title></circle>"
                )
            } else {
                writeln!(out, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\"/>")
            };
        }
    }
}
