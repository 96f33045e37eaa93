//! What is drawn has a role, and the role decides the colour.
//!
//! The plotter writes fixed colours into what it draws. So it is given colours that stand for
//! roles, and each becomes the role's colour in light, an attribute that every renderer knows, and
//! a class: `f-dormir` fills, `s-dormir` strokes. A style sheet, where the renderer reads it,
//! changes what the classes look like in dark and on paper.

use super::palette::{self, Colour};
use plotters::style::RGBColor;
use std::fmt::Write;

/// What something drawn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    /// Lines across the plot.
    Grid,
    /// The plot's edges, the numbers on its axes, and remarks beside.
    Axis,
    /// From a line's end to its label.
    Leader,
    Floor,
    Dormir,
    Embassy,
    /// The background.
    Paper,
    /// Sentences and titles.
    Text,
}

const ALL: [(Ink, &str, Colour); 8] = [
    (Ink::Grid, "grid", palette::RULE),
    (Ink::Axis, "axis", palette::SOFT),
    (Ink::Leader, "leader", palette::SOFT),
    (Ink::Floor, "floor", palette::FLOOR),
    (Ink::Dormir, "dormir", palette::DORMIR),
    (Ink::Embassy, "embassy", palette::EMBASSY),
    (Ink::Paper, "paper", palette::PAPER),
    (Ink::Text, "text", palette::INK),
];

impl Ink {
    /// The ink of a runtime's line.
    pub(super) fn of_runtime(name: &str) -> Self {
        let found = ALL
            .iter()
            .find(|(ink, known, _)| ink.is_runtime() && *known == name);
        found.map_or(Self::Axis, |(ink, ..)| *ink)
    }

    fn is_runtime(self) -> bool {
        matches!(self, Self::Floor | Self::Dormir | Self::Embassy)
    }

    /// The colour that stands for it while it is drawn.
    pub(super) fn stand_in(self) -> RGBColor {
        RGBColor(self as u8, 0xab, 0xcd)
    }

    fn name(self) -> &'static str {
        ALL[self as usize].1
    }

    fn colour(self) -> Colour {
        ALL[self as usize].2
    }

    /// The class of what it fills.
    pub(super) fn class(self) -> String {
        format!("f-{}", self.name())
    }

    /// The colour of what it fills, in light.
    pub(super) fn light(self) -> &'static str {
        self.colour().light
    }

    fn fill(self) -> String {
        let weight = if self.is_runtime() {
            " font-weight=\"600\""
        } else {
            ""
        };
        format!(
            "fill=\"{}\" class=\"{}\"{weight}",
            self.light(),
            self.class()
        )
    }

    fn stroke(self) -> String {
        // Lines differ in more than colour.
        let dashes = match self {
            Self::Floor => " stroke-dasharray=\"1 55\" stroke-linecap=\"round\"",
            Self::Embassy => " stroke-dasharray=\"120 50\"",
            _ => "",
        };
        let joined = if self.is_runtime() {
            " stroke-linejoin=\"round\""
        } else {
            ""
        };
        format!(
            "stroke=\"{}\" class=\"s-{}\"{dashes}{joined}",
            self.light(),
            self.name()
        )
    }
}

/// What the plotter drew, with the roles' colours and classes.
pub(super) fn to_roles(mut drawn: String) -> String {
    for (ink, ..) in ALL {
        let RGBColor(red, green, blue) = ink.stand_in();
        for (attribute, role) in [("fill", ink.fill()), ("stroke", ink.stroke())] {
            let from = format!("{attribute}=\"#{red:02X}{green:02X}{blue:02X}\"");
            drawn = drawn.replace(&from, &role);
        }
    }
    drawn
}

/// What the classes look like where the page's variables are.
pub(super) fn page_style() -> String {
    rules(|colour| format!("var(--{})", colour.variable))
}

/// What the classes look like in a file of its own, in dark and on paper.
pub(super) fn picture_style() -> String {
    palette::otherwise(|of| rules(|colour| of(colour).to_owned()))
}

fn rules(value: impl Fn(&Colour) -> String) -> String {
    let mut rules = String::new();
    for (_, name, colour) in &ALL {
        let value = value(colour);
        let _ = writeln!(
            rules,
            ".f-{name} {{ fill: {value}; }} .s-{name} {{ stroke: {value}; }}"
        );
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_has_a_colour_and_a_class_of_its_own() {
        let drawn = "<a stroke=\"#03ABCD\"/><a fill=\"#04ABCD\"/><a fill=\"none\"/>";
        assert_eq!(
            to_roles(drawn.into()),
            "<a stroke=\"#57606a\" class=\"s-floor\" stroke-dasharray=\"1 55\" \
             stroke-linecap=\"round\" stroke-linejoin=\"round\"/>\
             <a fill=\"#0a5cad\" class=\"f-dormir\" font-weight=\"600\"/><a fill=\"none\"/>"
        );
        assert_eq!(Ink::of_runtime("embassy"), Ink::Embassy);
        assert_eq!(Ink::of_runtime("another"), Ink::Axis);
        assert_eq!(Ink::of_runtime("paper"), Ink::Axis);
        for (index, (ink, ..)) in ALL.iter().enumerate() {
            assert_eq!(*ink as usize, index);
        }
    }

    #[test]
    fn dark_and_paper_come_on_top() {
        let style = picture_style();
        assert!(
            style.contains("dark) {\n") && style.contains("print {\n"),
            "{style}"
        );
        assert!(style.contains(".s-dormir { stroke: #6cb6ff; }"), "{style}");
        assert!(page_style().contains(".f-axis { fill: var(--soft); }"));
    }
}
