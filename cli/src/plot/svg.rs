//! The timeline as a picture: one panel for the boot, and one for each run with images, on a scale of its own.

use super::scale::{Scale, duration, pixels};
use super::{RunRow, Timeline, Unit, WORDS, length, name, phases, span, spent};
use ddi::text::{Text, is_invisible};
use maud::{Markup, PreEscaped, html};
use sextant::clock::Span;
use sextant::report::{Image, PhaseTime};
use std::collections::BTreeSet;

const STYLE: &str = include_str!("plot.css");

/// Width of the picture in pixels.
const WIDTH: u64 = 1200;
/// Width of the names, at the left of the bars.
const NAMES: u64 = 280;
/// Width of the notes, at their right.
const NOTES: u64 = 250;
/// Height of a row.
const ROW: u64 = 20;
/// Height of a bar.
const BAR: u64 = 14;
/// Height of what is above the rows of a panel.
const HEAD: u64 = 78;
/// Space around the picture, and between panels.
const MARGIN: u64 = 16;
/// Columns of a name. Longer ones are cut; all of it is in the title of the row.
const COLUMNS: usize = 38;

impl Timeline<'_> {
    /// Returns the document.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut canvas = Canvas { y: 84, parts: Vec::new() };
        canvas.boot(self);
        for run in self.runs.iter().filter(|run| !run.images.is_empty()) {
            canvas.images(run);
        }
        let height = canvas.y;
        let markup = html! {
            svg xmlns="http://www.w3.org/2000/svg" width=(WIDTH) height=(height) viewBox={ "0 0 " (WIDTH) " " (height) }
                role="img" aria-labelledby="title description" {
                title id="title" { "Timeline of the extensions of a boot" }
                desc id="description" { (self.description()) }
                style { (PreEscaped(STYLE)) }
                rect.ground width=(WIDTH) height=(height) {}
                text.title x=(MARGIN) y="36" { "Timeline of the extensions of a boot" }
                text x=(MARGIN) y="58" { (self.subtitle) }
                @for part in &canvas.parts { (part) }
            }
        };
        let mut document = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        for character in markup.0.chars() {
            // Text escapes these where it is made; here is the last place where the others can be.
            if character != '\n' && is_invisible(character) {
                document.extend(character.escape_default());
            } else {
                document.push(character);
            }
        }
        document.push('\n');
        document
    }
}

/// A bar of a row: class of its style, when, and what it is.
type Bar = (&'static str, Span, String);

/// What has been drawn, and how far down.
struct Canvas {
    y: u64,
    parts: Vec<Markup>,
}

impl Canvas {
    /// Begins a panel of `rows` rows, and returns its scale.
    fn panel(&mut self, heading: &str, legend: &[(&str, &str)], times: Span, rows: usize) -> Scale {
        let scale = Scale::new(times, MARGIN + NAMES, WIDTH - NAMES - NOTES - 2 * MARGIN);
        let (top, first) = (self.y, self.y + HEAD);
        let bottom = first.saturating_add(ROW.saturating_mul(u64::try_from(rows).unwrap_or(u64::MAX)));
        self.parts.push(html! {
            text.heading x=(MARGIN) y=(top + 14) { (heading) }
            @for (number, (class, word)) in (0_u64..).zip(legend) {
                rect class=(class) x=(MARGIN + NAMES + number * 170) y=(top + 22) width=(BAR) height="12" {}
                text x=(MARGIN + NAMES + number * 170 + BAR + 6) y=(top + 33) { (word) }
            }
            @for (time, mark) in scale.marks() {
                @let x = pixels(scale.at(time));
                line.grid x1=(x) x2=(x) y1=(first - 4) y2=(bottom) {}
                text.mark x=(x) y=(first - 8) { (mark) }
            }
        });
        self.y = first;
        scale
    }

    fn row(&mut self, scale: &Scale, label: &str, bars: &[Bar], note: &str, is_bad: bool) {
        let (top, base) = (self.y + (ROW - BAR) / 2, self.y + ROW - 6);
        self.parts.push(html! {
            g {
                title { (label) ": " (note) }
                text.label x=(MARGIN + NAMES - 8) y=(base) { (cut(label)) }
                @for (class, span, what) in bars {
                    @let (x, width) = scale.bar(*span);
                    rect class=(class) x=(pixels(x)) y=(top) width=(pixels(width)) height=(BAR) { title { (what) } }
                }
                text.bad[is_bad] x=(WIDTH - NOTES - MARGIN + 8) y=(base) { (note) }
            }
        });
        self.y += ROW;
    }

    /// The whole boot: units, and runs of the agent among them.
    fn boot(&mut self, timeline: &Timeline<'_>) {
        let rows = timeline.units.len() + timeline.runs.len() + usize::from(timeline.more_units > 0);
        let (top, times) = (self.y + HEAD - 4, timeline.span);
        let legend: &[_] = if timeline.units.is_empty() {
            &[("run", "sextant-agent")]
        } else {
            &[("run", "sextant-agent"), ("starting", "unit is starting"), ("active", "unit is active")]
        };
        let ground = self.parts.len();
        let repeated = Unit::repeated(timeline.units);
        let scale = self.panel("The boot", legend, times, rows);
        let mut lines: Vec<(u64, Line<'_>)> =
            timeline.units.iter().map(|unit| (unit.starting.begin, Line::Unit(unit))).collect();
        lines.extend(timeline.runs.iter().map(|run| (run.span.begin, Line::Run(run))));
        // A unit comes before the run that it starts.
        lines.sort_by_key(|(begin, _)| *begin);
        for (_, line) in lines {
            match line {
                Line::Unit(unit) => self.unit(&scale, unit, &label(unit, timeline, &repeated), times),
                Line::Run(run) => {
                    let what = format!("sextant-agent {}", run.command);
                    let note = note(&run_length(run), run.span, times);
                    let bars = in_time(vec![("run", run.span, note.clone())], times);
                    self.row(&scale, &what, &bars, &note, !run.is_over);
                }
            }
        }
        if timeline.more_units > 0 {
            self.row(&scale, &format!("and {} more units", timeline.more_units), &[], "", false);
        }
        let height = self.y.saturating_sub(top);
        self.parts.insert(ground, bands(timeline, &scale, top, height));
        self.y += MARGIN;
    }

    fn unit(&mut self, scale: &Scale, unit: &Unit, label: &str, times: Span) {
        let note = note(&duration(length(unit.starting)), unit.starting, times);
        let mut bars = Vec::new();
        let active = Span { begin: unit.starting.end, end: unit.until.unwrap_or(times.end) };
        if active.end > active.begin {
            bars.push(("active", active, format!("{} is active", unit.name)));
        }
        bars.push(("starting", unit.starting, format!("{} is starting: {note}", unit.name)));
        self.row(scale, label, &in_time(bars, times), &note, false);
    }

    /// The images of a run.
    fn images(&mut self, run: &RunRow<'_>) {
        let heading = format!("Images of {}, from {} on", run.command, duration(run.span.begin));
        let legend: Vec<_> = WORDS.iter().map(|(_, class, word)| (*class, *word)).collect();
        let rows = run.images.len() + usize::from(!run.rest.is_empty());
        let scale = self.panel(&heading, &legend, run.span, rows);
        for image in &run.images {
            let bars: Vec<Bar> = phases(image).map(bar).collect();
            self.row(&scale, name(image).as_str(), &bars, &outcome(image), image.reason.is_some());
        }
        if !run.rest.is_empty() {
            let label = format!("and {} more images", run.rest.len());
            self.row(&scale, &label, &[], &format!("{} in total", spent(&run.rest)), false);
        }
        self.y += MARGIN;
    }
}

enum Line<'a> {
    Unit(&'a Unit),
    Run(&'a RunRow<'a>),
}

/// The name of a unit, with the part of the boot where it would be there twice.
fn label(unit: &Unit, timeline: &Timeline<'_>, repeated: &BTreeSet<&Text>) -> String {
    let is_of_the_initrd = timeline.boot.host.is_some_and(|host| unit.starting.begin < host);
    if is_of_the_initrd && repeated.contains(&unit.name) {
        format!("{} (initrd)", unit.name)
    } else {
        unit.name.to_string()
    }
}

fn run_length(run: &RunRow<'_>) -> String {
    if run.is_over { duration(length(run.span)) } else { "stopped before its end".to_owned() }
}

/// How long something took, and when. A target takes no time.
fn note(took: &str, span: Span, times: Span) -> String {
    let later = if span.begin > times.end { ", after the boot" } else { "" };
    let took = if length(span) == 0 { String::new() } else { format!("{took}, ") };
    format!("{took}at {}{later}", duration(span.begin))
}

/// The bars that have a place in the picture.
fn in_time(bars: Vec<Bar>, times: Span) -> Vec<Bar> {
    bars.into_iter().filter(|(_, span, _)| span.begin <= times.end).collect()
}

/// The parts of the boot behind the rows, where systemd says when they began.
fn bands(timeline: &Timeline<'_>, scale: &Scale, top: u64, height: u64) -> Markup {
    let boot = timeline.boot;
    let host = boot.host.unwrap_or(timeline.span.end);
    let initrd = boot.initrd.unwrap_or(host);
    let parts = [
        ("kernel", "kernel", Span { begin: timeline.span.begin, end: initrd }),
        ("initrd", "initrd", Span { begin: initrd, end: host }),
        ("host", "host", Span { begin: host, end: timeline.span.end }),
    ];
    html! {
        @if boot.host.is_some() {
            @for (class, word, span) in parts {
                @let (x, width) = scale.bar(span);
                @if span.end > span.begin {
                    rect class=(class) x=(pixels(x)) y=(top) width=(pixels(width)) height=(height) { title { (word) } }
                    // Where there is room.
                    @if width > 500 { text.part x=(pixels(x + width / 2)) y=(top - 22) { (word) } }
                }
            }
        }
    }
}

fn bar(phase: &PhaseTime) -> Bar {
    let known = WORDS.iter().find(|(known, ..)| phase.phase == *known);
    let (class, word) = known.map_or(("other", phase.phase.as_str()), |(_, class, word)| (*class, *word));
    (class, span(phase), format!("{word}: {}", duration(length(span(phase)))))
}

/// What became of an image, and how long it took.
fn outcome(image: &Image) -> String {
    let total = phases(image).fold(0, |sum, phase| length(span(phase)).saturating_add(sum));
    let reason = image.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{}, {}{reason}", duration(total), image.verdict)
}

/// As much of a name as there is room for. Letters that are wider than Latin ones count twice.
fn cut(name: &str) -> String {
    let mut columns = 0;
    let mut out = String::new();
    for character in name.chars() {
        columns += if character.is_ascii() { 1 } else { 2 };
        if columns > COLUMNS {
            out.push('…');
            break;
        }
        out.push(character);
    }
    out
}
