//! Tables: columns lined up, two spaces apart, no borders, never wrapped; and labelled lines
//! for single things.

use comfy_table::{
    Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width, presets,
};

use super::{Look, Row, Tone};

/// One cell of a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
    right: bool,
}

impl Cell {
    /// Text, or a dash where there is none.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        if text.is_empty() {
            return Self { text: "-".into(), tone: Tone::Meta, right: false };
        }
        Self { text, ..Self::default() }
    }

    /// A number or quantity: stands at the right.
    pub(crate) fn number(text: impl ToString) -> Self {
        Self { right: true, ..Self::new(text.to_string()) }
    }

    /// A word of a lifecycle, in its colour.
    pub(crate) fn state(text: &str) -> Self {
        Self::new(text).tone(Tone::of_state(text))
    }

    /// Text of at most `width` characters, with an ellipsis where it was cut.
    pub(crate) fn cut(text: &str, width: usize) -> Self {
        Self::new(shorten(text, width))
    }

    /// Gives it a meaning.
    pub(crate) fn tone(mut self, tone: Tone) -> Self {
        if self.text != "-" {
            self.tone = tone;
        }
        self
    }

    fn draw(self, look: Look) -> comfy_table::Cell {
        let alignment = if self.right { CellAlignment::Right } else { CellAlignment::Left };
        let cell = comfy_table::Cell::new(self.text).set_alignment(alignment);
        match self.tone {
            _ if !look.colour => cell,
            Tone::Plain => cell,
            Tone::Good => cell.fg(Color::Green),
            Tone::Bad => cell.fg(Color::Red),
            Tone::Wait => cell.fg(Color::Yellow),
            Tone::Meta => cell.add_attribute(Attribute::Dim),
        }
    }
}

/// At most `width` characters of one line of `text`.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= width && line.len() == text.len() {
        return line.to_owned();
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Draws a listing; nothing at all when it is empty.
pub(super) fn draw<T: Row>(items: &[T], look: Look) -> String {
    let rows = items.iter().map(|item| item.cells(look));
    grid(T::titles(look.wide), rows, look)
}

/// Draws rows below titles; nothing at all when there are none.
pub(crate) fn grid(titles: &[&str], rows: impl Iterator<Item = Vec<Cell>>, look: Look) -> String {
    let mut rows: Vec<Vec<Cell>> = rows.collect();
    let Some(first) = rows.first() else { return String::new() };
    let head = titles.iter().zip(first).map(|(title, cell)| {
        Cell { text: (*title).to_owned(), tone: Tone::Meta, right: cell.right }.draw(look)
    });
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if look.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(head.collect::<Vec<_>>());
    for row in rows.drain(..) {
        table.add_row(row.into_iter().map(|cell| cell.draw(look)).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(0)));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Draws labelled lines, the labels lined up; what is empty is left out.
pub(crate) fn labelled(lines: &[(&str, String)], look: Look) -> String {
    let width = lines.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
    lines
        .iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(label, text)| {
            let label = Tone::Meta.paint(&format!("{label:width$}"), look.colour);
            format!("{label}  {text}\n")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("äöüß", 3), "äö…");
        assert_eq!(shorten("one\ntwo", 9), "one…");
    }

    #[test]
    fn columns_line_up_and_lines_end_without_spaces() {
        let look = Look { now_ms: 0, colour: false, wide: false, id_chars: 8 };
        let rows = [
            vec![Cell::new("a"), Cell::number(5), Cell::state("running")],
            vec![Cell::new("longer"), Cell::number(1000), Cell::new("")],
        ];
        insta::assert_snapshot!(grid(&["NAME", "N", "STATE"], rows.clone().into_iter(), look), @"
        NAME       N  STATE
        a          5  running
        longer  1000  -
        ");
        let coloured =
            grid(&["NAME", "N", "STATE"], rows.into_iter(), Look { colour: true, ..look });
        assert!(coloured.contains("\u{1b}["), "{coloured:?}");
    }
}
