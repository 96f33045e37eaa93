//! Colours that the style sheet decides, not the plotter.
//!
//! The plotter writes fixed colours into what it draws. So it is given colours that stand for roles, and each
//! becomes a class: `f-dormir` fills, `s-dormir` strokes. What the classes look like, in light and in dark, is
//! in `chart.css`.

use plotters::style::RGBColor;

/// What something drawn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    /// Lines across the plot.
    Grid,
    /// The plot's edges, and the numbers on its axes.
    Axis,
    /// From a line's end to its label.
    Leader,
    Floor,
    Dormir,
    Embassy,
}

const ALL: [(Ink, &str); 6] = [
    (Ink::Grid, "grid"),
    (Ink::Axis, "axis"),
    (Ink::Leader, "leader"),
    (Ink::Floor, "floor"),
    (Ink::Dormir, "dormir"),
    (Ink::Embassy, "embassy"),
];

impl Ink {
    /// That of a runtime's line.
    pub(super) fn of_runtime(name: &str) -> Self {
        let found = ALL[3..].iter().find(|(_, known)| *known == name);
        found.map_or(Self::Axis, |(ink, _)| *ink)
    }

    /// The colour that stands for it while it is drawn.
    pub(super) fn stand_in(self) -> RGBColor {
        RGBColor(self as u8, 0xab, 0xcd)
    }
}

/// What the plotter drew, with classes in place of colours.
pub(super) fn to_classes(mut drawn: String) -> String {
    for (ink, name) in ALL {
        let RGBColor(red, green, blue) = ink.stand_in();
        for (attribute, letter) in [("fill", 'f'), ("stroke", 's')] {
            let from = format!("{attribute}=\"#{red:02X}{green:02X}{blue:02X}\"");
            drawn = drawn.replace(&from, &format!("class=\"{letter}-{name}\""));
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_has_a_class_of_its_own() {
        let drawn = "<a stroke=\"#03ABCD\"/><a fill=\"#04ABCD\"/><a fill=\"none\"/>";
        assert_eq!(
            to_classes(drawn.into()),
            "<a class=\"s-floor\"/><a class=\"f-dormir\"/><a fill=\"none\"/>"
        );
        assert_eq!(Ink::of_runtime("embassy"), Ink::Embassy);
        assert_eq!(Ink::of_runtime("another"), Ink::Axis);
    }
}
