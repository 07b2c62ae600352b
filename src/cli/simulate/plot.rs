//! The picture: for each load a panel, with a line for the work that comes and one for each policy's workers.

use super::Trial;
use gateway_scaling::{
    Policy,
    simulation::{Outcome, Sample},
};
use std::fmt::Write;

const WIDTH: f64 = 1000.0;
const PANEL: f64 = 220.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 30.0;
/// Points in a line: more are not seen.
const POINTS: usize = 480;

/// Colours that people who see few of them tell apart.
fn colour(policy: Policy) -> &'static str {
    match policy {
        Policy::Load => "#0072b2",
        Policy::Backlog => "#e69f00",
        Policy::Original => "#cc79a7",
    }
}

/// An SVG document.
pub(super) fn draw(trials: &[Trial]) -> String {
    let height = PANEL * trials.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (at, trial) in trials.iter().enumerate() {
        panel(&mut svg, trial, PANEL * at as f64);
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, trial: &Trial, top: f64) {
    let samples = || trial.outcomes.iter().flat_map(|(_, outcome)| &outcome.samples);
    let hours = samples().map(|sample| sample.at).fold(1.0, f64::max) / 3600.0;
    let most = f64::from(samples().map(|sample| sample.workers).max().unwrap_or(1).max(1));
    let x = |at: f64| LEFT + at / 3600.0 / hours * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| top + PANEL - BOTTOM - (value / most).min(1.0) * (PANEL - TOP - BOTTOM);
    // Writing to a string never fails.
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{}: {}</text>",
        top + 16.0,
        escaped(&trial.pattern.name),
        escaped(&trial.pattern.about)
    );
    for (value, label) in [(0.0, "0".to_owned()), (most, format!("{most:.0}"))] {
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ccc\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y(value) + 4.0,
            y = y(value)
        );
    }
    for part in 0..=4 {
        let hour = hours * f64::from(part) / 4.0;
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{hour:.1} h</text>",
            x(hour * 3600.0),
            top + PANEL - 10.0
        );
    }
    legend(svg, top);
    if let Some((_, outcome)) = trial.outcomes.first() {
        line(svg, outcome, "#999", |sample| (x(sample.at), y(sample.load)));
    }
    for (policy, outcome) in &trial.outcomes {
        line(svg, outcome, colour(*policy), |sample| (x(sample.at), y(f64::from(sample.workers))));
    }
}

fn legend(svg: &mut String, top: f64) {
    let known = Policy::ALL.into_iter().map(|policy| (policy.name(), colour(policy)));
    for (at, (name, colour)) in known.chain([("work that comes", "#999")]).enumerate() {
        let x = LEFT + 130.0 * at as f64;
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text x=\"{}\" y=\"{}\">{name}</text>",
            x + 20.0,
            x + 26.0,
            top + 34.0,
            y = top + 30.0
        );
    }
}

/// One line, of the means of so many moments that it has at most [`POINTS`].
fn line(svg: &mut String, outcome: &Outcome, colour: &str, point: impl Fn(&Sample) -> (f64, f64)) {
    let each = outcome.samples.len().div_ceil(POINTS).max(1);
    let points = outcome.samples.chunks(each).map(|chunk| {
        let (x, y) = chunk.iter().map(&point).fold((0.0, 0.0), |(x, y), (more, also)| (x + more, y + also));
        let count = chunk.len() as f64;
        format!("{:.1},{:.1}", x / count, y / count)
    });
    let points = points.collect::<Vec<_>>().join(" ");
    let _ = writeln!(svg, "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.3\"/>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
