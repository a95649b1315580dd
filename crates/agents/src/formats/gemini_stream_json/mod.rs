//! The output of Gemini CLI, as seen with 0.61.0: `gemini -o stream-json`.
//!
//! What is not obvious:
//! - `result` is final and its `status` decides; the exit code is the HTTP status mod 256, or 0 after a broken stream.
//! - SIGINT ends the stream without a further line, exit code 0.
//! - A missing key is reported on stderr only, exit code 41.
//! - A session can be resumed only after the model's first answer. Its id is taken even before that.
//! - After a broken stream the chunks of the failed attempt are repeated without a mark: see [`attempts`].
//! - `GOOGLE_GEMINI_BASE_URL` works only together with `security.auth.selectedType` in the user's own settings. We do not
//!   set that: it would exclude Vertex AI and Google accounts.
//! - It has neither thoughts nor exit codes of commands: a command that failed is a `success`.

mod attempts;
mod observer;
mod translator;
mod wire;

use super::format::Format;

pub(crate) static GEMINI_STREAM_JSON: Format = Format {
    chunks: &[&["content"]],
    ..Format::stream(
        "gemini-stream-json",
        || Box::new(observer::GeminiObserver::default()),
        || Box::new(translator::GeminiTranslator::default()),
    )
};
