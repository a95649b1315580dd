//! The one table.

use std::time::Duration;

/// Rows of: what, promptd, the bare way, their ratio, the aim.
#[derive(Default)]
pub(crate) struct Table(Vec<[String; 5]>);

/// A measured figure with its unit.
#[derive(Clone, Copy)]
pub(crate) enum Figure {
    Time(Duration),
    /// Per second, of what.
    Rate(f64, &'static str),
    Bytes(u64),
}

impl Figure {
    fn value(self) -> f64 {
        match self {
            Self::Time(time) => time.as_secs_f64(),
            Self::Rate(rate, _) => rate,
            Self::Bytes(bytes) => bytes as f64,
        }
    }

    fn text(self) -> String {
        match self {
            Self::Time(time) if time < Duration::from_millis(1) => format!("{:.1} µs", time.as_secs_f64() * 1e6),
            Self::Time(time) => format!("{:.2} ms", time.as_secs_f64() * 1e3),
            Self::Rate(rate, "bytes") => format!("{:.2} GB/s", rate / 1e9),
            Self::Rate(rate, what) => format!("{rate:.0} {what}/s"),
            Self::Bytes(bytes) if bytes < 1 << 20 => format!("{} KiB", bytes >> 10),
            Self::Bytes(bytes) => format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20)),
        }
    }
}

impl Table {
    /// A figure beside the bare way of doing the same.
    pub(crate) fn row(&mut self, what: &str, ours: Figure, bare: (&str, Figure), aim: &str) {
        let ratio = ours.value() / bare.1.value();
        self.push([
            what.to_owned(),
            ours.text(),
            format!("{} ({})", bare.1.text(), bare.0),
            format!("{ratio:.2}"),
            aim.to_owned(),
        ]);
    }

    /// A figure that nothing compares to.
    pub(crate) fn alone(&mut self, what: &str, ours: Figure, aim: &str) {
        self.push([
            what.to_owned(),
            ours.text(),
            String::new(),
            String::new(),
            aim.to_owned(),
        ]);
    }

    /// A row of words.
    pub(crate) fn note(&mut self, what: &str, text: &str) {
        self.push([what, text, "", "", ""].map(str::to_owned));
    }

    fn push(&mut self, row: [String; 5]) {
        eprintln!("  {}", row.join("  "));
        self.0.push(row);
    }

    pub(crate) fn print(&self) {
        let head = ["", "promptd", "bare", "ratio", "aim"].map(str::to_owned);
        let width = |column: usize| {
            let cells = self.0.iter().chain([&head]).map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths = [0, 1, 2, 3, 4].map(width);
        let line = |row: &[String; 5]| {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!(" {cell:width$} "));
            println!("|{}|", cells.collect::<Vec<_>>().join("|"));
        };
        line(&head);
        println!("|{}|", widths.map(|width| "-".repeat(width + 2)).join("|"));
        self.0.iter().for_each(line);
    }
}

/// The figure below which this share of the times lies.
pub(crate) fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}
