//! Prints records: as the agent's bytes, as lines of a view, or for a person.

use std::io::{self, Write};

use crate::cli::client::head_of;
use crate::cli::error::CliError;
use crate::cli::show::Show;
use crate::cli::terminal;
use promptd_model::{Body, Stream, View};
use promptd_model::{RecordKind, decode, decode_output};

/// The form of the output.
#[derive(Debug)]
pub(crate) enum Form {
    /// The agent's bytes; its standard error goes to standard error.
    Raw,
    /// The lines of a view, as the server sends them.
    Json(View),
    /// Text for a person.
    Show(Box<Show>),
}

/// Which records are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// This turn and later ones.
    pub(crate) from_turn: u32,
    /// Only this turn.
    pub(crate) turn: Option<u32>,
    /// Only this stream.
    pub(crate) stream: Option<Stream>,
}

/// Prints records.
#[derive(Debug)]
pub(crate) struct Printer<Out, Err> {
    form: Form,
    filter: Filter,
    out: Out,
    err: Err,
    bytes: Vec<u8>,
}

impl Printer<io::BufWriter<io::Stdout>, io::Stderr> {
    pub(crate) fn new(form: Form, filter: Filter) -> Self {
        Self::to(
            form,
            filter,
            io::BufWriter::with_capacity(64 << 10, io::stdout()),
            io::stderr(),
        )
    }
}

impl<Out: Write, Err: Write> Printer<Out, Err> {
    pub(crate) fn to(form: Form, filter: Filter, out: Out, err: Err) -> Self {
        Self {
            form,
            filter,
            out,
            err,
            bytes: Vec::new(),
        }
    }

    /// The view to request from the server.
    pub(crate) fn view(&self) -> View {
        match &self.form {
            Form::Raw => View::Raw,
            Form::Json(view) => *view,
            Form::Show(_) => View::Updates,
        }
    }

    /// The state of the text for a person.
    pub(crate) fn show(&self) -> Option<&Show> {
        match &self.form {
            Form::Show(show) => Some(show),
            Form::Raw | Form::Json(_) => None,
        }
    }

    /// Prints one line of the view, unless the filter excludes it.
    pub(crate) fn line(&mut self, line: &[u8]) -> Result<(), CliError> {
        terminal::erase();
        let Some(head) = head_of(line) else { return Ok(()) };
        // Records of the session (turn 0) are printed with every turn.
        let turn = head.turn == 0
            || (head.turn >= self.filter.from_turn && self.filter.turn.is_none_or(|turn| turn == head.turn));
        let stream = match head.kind {
            RecordKind::Output(stream, _) => Some(stream),
            RecordKind::Other(_) => None,
        };
        if !turn || self.filter.stream.is_some_and(|wanted| stream != Some(wanted)) {
            return Ok(());
        }
        match (&mut self.form, stream) {
            (Form::Json(_), _) => self
                .out
                .write_all(line)
                .and_then(|()| self.out.write_all(b"\n"))
                .map_err(CliError::Output),
            (Form::Raw, Some(stream)) => self.raw(stream, line),
            (Form::Raw, None) => Ok(()),
            (Form::Show(show), _) => {
                let pieces = show.line(line);
                self.pieces(&pieces)
            }
        }
    }

    /// Ends an open line on the terminal.
    pub(crate) fn finish(&mut self) -> Result<(), CliError> {
        terminal::erase();
        if let Form::Show(show) = &mut self.form {
            let pieces = show.finish();
            self.pieces(&pieces)?;
        }
        self.flush()
    }

    fn pieces(&mut self, pieces: &[(Stream, String)]) -> Result<(), CliError> {
        pieces
            .iter()
            .try_for_each(|(stream, text)| self.write(*stream, text.as_bytes()))
    }

    fn raw(&mut self, stream: Stream, line: &[u8]) -> Result<(), CliError> {
        let record = decode(line).ok_or_else(|| CliError::BadAnswer(format!("a {stream} record is damaged")))?;
        let (Body::Stdout(output) | Body::Stderr(output)) = &record.body else {
            return Ok(());
        };
        self.bytes.clear();
        if !decode_output(output, &mut self.bytes) {
            return Err(CliError::BadAnswer(format!("record {} has broken base64", record.seq)));
        }
        let bytes = std::mem::take(&mut self.bytes);
        let written = self.write(stream, &bytes);
        self.bytes = bytes;
        written
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), CliError> {
        terminal::note_output(bytes);
        match stream {
            Stream::Stdout => self.out.write_all(bytes).map_err(CliError::Output),
            Stream::Stderr => {
                // On a terminal both streams are mixed: keep their order.
                self.flush()?;
                self.err.write_all(bytes).map_err(CliError::Output)
            }
        }
    }

    /// Writes what is buffered.
    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        self.out.flush().map_err(CliError::Output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 5] = [
        r#"{"seq":1,"time":"2026-11-21T02:40:00.123456Z","turn":1,"type":"prompt","text":"x"}"#,
        r#"{"seq":2,"time":"2026-11-21T02:40:00.123456Z","turn":1,"type":"stdout","to":3,"data":"ab"}"#,
        r#"{"seq":3,"time":"2026-11-21T02:40:00.123456Z","turn":1,"type":"stderr","to":2,"eol":false,"base64":"/wA="}"#,
        r#"{"seq":4,"time":"2026-11-21T02:40:00.123456Z","turn":2,"type":"stdout","to":1,"eol":false,"data":"c"}"#,
        "not a record",
    ];

    fn printed(form: Form, filter: Filter) -> (Vec<u8>, Vec<u8>) {
        let mut printer = Printer::to(form, filter, Vec::new(), Vec::new());
        for line in LINES {
            printer.line(line.as_bytes()).unwrap();
        }
        (printer.out, printer.err)
    }

    #[test]
    fn raw_prints_the_exact_bytes_of_each_stream() {
        assert_eq!(
            printed(Form::Raw, Filter::default()),
            (b"ab\nc".to_vec(), vec![0xff, 0])
        );
    }

    #[test]
    fn filter_selects_turn_and_stream() {
        let second = Filter {
            turn: Some(2),
            ..Filter::default()
        };
        assert_eq!(printed(Form::Raw, second).0, b"c");
        assert_eq!(
            printed(
                Form::Raw,
                Filter {
                    from_turn: 2,
                    ..Filter::default()
                }
            ),
            (b"c".to_vec(), Vec::new())
        );
        let stderr = Filter {
            stream: Some(Stream::Stderr),
            ..Filter::default()
        };
        assert_eq!(printed(Form::Raw, stderr), (Vec::new(), vec![0xff, 0]));
    }

    #[test]
    fn json_prints_the_journals_lines() {
        let expected = format!("{}\n", LINES[..4].join("\n"));
        assert_eq!(
            printed(Form::Json(View::Raw), Filter::default()).0,
            expected.into_bytes()
        );
    }
}
