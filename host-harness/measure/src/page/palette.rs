//! The colours of page and picture, in light, in dark and on paper.

use std::fmt::Write;

/// A colour: the CSS variable that the page calls it by, and what it is in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colour {
    pub(super) variable: &'static str,
    pub(super) light: &'static str,
    pub(super) dark: &'static str,
    pub(super) print: &'static str,
}

const fn colour(variable: &'static str, [light, dark, print]: [&'static str; 3]) -> Colour {
    Colour {
        variable,
        light,
        dark,
        print,
    }
}

pub(super) const PAPER: Colour = colour("paper", ["#ffffff", "#0d1117", "#ffffff"]);
pub(super) const INK: Colour = colour("ink", ["#1b1f24", "#e6edf3", "#000000"]);
pub(super) const SOFT: Colour = colour("soft", ["#57606a", "#a5afba", "#444444"]);
pub(super) const RULE: Colour = colour("rule", ["#d0d7de", "#30363d", "#bbbbbb"]);
pub(super) const FLOOR: Colour = colour("floor", ["#57606a", "#b3bdc7", "#444444"]);
pub(super) const DORMIR: Colour = colour("dormir", ["#0a5cad", "#6cb6ff", "#0a5cad"]);
pub(super) const EMBASSY: Colour = colour("embassy", ["#a84300", "#ffab66", "#a84300"]);

/// The page's.
const ALL: [Colour; 11] = [
    PAPER,
    INK,
    SOFT,
    RULE,
    FLOOR,
    DORMIR,
    EMBASSY,
    colour("card", ["#f6f8fa", "#161b22", "#ffffff"]),
    colour("warn", ["#fff1c2", "#3a2d00", "#ffffff"]),
    colour("on-warn", ["#4d3800", "#ffe08a", "#000000"]),
    colour("edge", ["#b98900", "#b98900", "#b98900"]),
];

/// The rules for dark and for paper, each within its condition.
pub(super) fn otherwise(rules: impl Fn(fn(&Colour) -> &'static str) -> String) -> String {
    format!(
        "@media (prefers-color-scheme: dark) {{\n{}}}\n@media print {{\n{}}}\n",
        rules(|colour| colour.dark),
        rules(|colour| colour.print)
    )
}

/// The page's CSS variables.
pub(super) fn variables() -> String {
    let root = |of: fn(&Colour) -> &'static str| {
        let mut root = String::from(":root {");
        for colour in &ALL {
            let _ = write!(root, " --{}: {};", colour.variable, of(colour));
        }
        root + " }\n"
    };
    format!(
        ":root {{ color-scheme: light dark; }}\n{}{}",
        root(|colour| colour.light),
        otherwise(root)
    )
}
