//! Tables of text.

use unicode_width::UnicodeWidthStr as _;

use super::colour::Paint;

/// A cell and its colour.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) paint: Option<Paint>,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, paint: None }
    }
}

/// Renders rows in columns.
pub(crate) fn render<const N: usize>(head: [&str; N], rows: &[[Cell; N]], colours: bool) -> String {
    let mut widths = head.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.width());
        }
    }
    let head = head.map(|text| Cell {
        text: text.to_owned(),
        paint: Some(Paint::Faint),
    });
    std::iter::once(&head)
        .chain(rows)
        .map(|row| line(row, &widths, colours))
        .collect()
}

fn line(row: &[Cell], widths: &[usize], colours: bool) -> String {
    let mut line = String::new();
    let mut gap = 0;
    for (cell, width) in row.iter().zip(widths) {
        line.push_str(&" ".repeat(gap));
        match cell.paint.filter(|_| colours) {
            Some(paint) => line.push_str(&paint.apply(&cell.text)),
            None => line.push_str(&cell.text),
        }
        gap = width.saturating_sub(cell.text.width()).saturating_add(2);
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_without_counting_colours() {
        let rows = [
            [
                "abc".to_owned().into(),
                Cell {
                    text: "ok".into(),
                    paint: Some(Paint::Good),
                },
            ],
            ["d".to_owned().into(), Cell::default()],
        ];
        assert_eq!(render(["A", "STATUS"], &rows, false), "A    STATUS\nabc  ok\nd    \n");
        assert_eq!(
            render(["A", "STATUS"], &rows, true),
            "\x1b[2mA\x1b[0m    \x1b[2mSTATUS\x1b[0m\nabc  \x1b[32mok\x1b[0m\nd    \n"
        );
    }
}
