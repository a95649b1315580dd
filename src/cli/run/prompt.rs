//! The prompt of `promptd run`: its text, and the files and images with it.
//!
//! Promises that a file is refused before a session is created, with a sentence that says what would be right.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;

use crate::cli::client::escape;
use crate::cli::error::CliError;
use promptd_model::{BlockKind, ContentBlock, EmbeddedFile, MAX_PROMPT_FILE, PromptContent};

/// What goes with the text of a prompt.
#[derive(Debug, Args)]
pub(crate) struct Attachments {
    /// A file for the prompt, with its content: text for any agent, PDF for agents that take it; may be repeated
    #[arg(long, value_name = "PATH")]
    file: Vec<PathBuf>,
    /// An image for the prompt (PNG, JPEG, GIF or WebP), for agents that take images; may be repeated
    #[arg(long, value_name = "PATH")]
    image: Vec<PathBuf>,
}

/// The prompt: its words or standard input, then the files and images.
pub(crate) fn prompt(words: &[String], attachments: &Attachments) -> Result<PromptContent, CliError> {
    let Attachments { file, image } = attachments;
    let mut blocks = Vec::new();
    // Before standard input is read: a wrong path is reported at once.
    for path in file {
        blocks.push(file_block(path)?);
    }
    for path in image {
        blocks.push(image_block(path)?);
    }
    let text = text(words)?;
    if blocks.is_empty() {
        return Ok(text.into());
    }
    blocks.insert(0, ContentBlock::of_text(text));
    Ok(PromptContent::Blocks(blocks))
}

fn text(words: &[String]) -> Result<String, CliError> {
    let text = match words {
        [] if io::stdin().is_terminal() => {
            return Err(CliError::Usage(
                "no prompt; write it after `promptd run`, or `-` to read it from standard input".to_owned(),
            ));
        }
        [] => read_stdin()?,
        [dash] if dash == "-" => read_stdin()?,
        words => words.join(" "),
    };
    if text.trim().is_empty() {
        return Err(CliError::Usage("the prompt is empty".to_owned()));
    }
    Ok(text)
}

fn read_stdin() -> Result<String, CliError> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).map_err(CliError::Io)?;
    String::from_utf8(bytes)
        .map_err(|error| CliError::Usage(format!("the prompt on standard input is not UTF-8: {error}")))
}

fn file_block(path: &Path) -> Result<ContentBlock, CliError> {
    let bytes = read("--file", path)?;
    if image_type(&bytes).is_some() {
        return Err(wrong("--file", path, "is an image; use --image"));
    }
    let mut file = EmbeddedFile {
        uri: uri(path)?,
        mime_type: None,
        text: None,
        blob: None,
        meta: None,
    };
    if bytes.starts_with(b"%PDF-") {
        file.mime_type = Some("application/pdf".to_owned());
        file.blob = Some(BASE64.encode(bytes));
    } else {
        let problem = "is neither UTF-8 text nor PDF; put it into the workspace, and name it in the prompt";
        let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
        file.text = Some(text.ok_or_else(|| wrong("--file", path, problem))?);
    }
    Ok(ContentBlock {
        kind: BlockKind::Resource,
        resource: Some(file),
        text: None,
        ..ContentBlock::of_text(String::new())
    })
}

fn image_block(path: &Path) -> Result<ContentBlock, CliError> {
    let bytes = read("--image", path)?;
    let problem = "is no PNG, JPEG, GIF or WebP; convert it, or use --file for a text";
    let mime_type = image_type(&bytes).ok_or_else(|| wrong("--image", path, problem))?;
    Ok(ContentBlock {
        kind: BlockKind::Image,
        text: None,
        data: Some(BASE64.encode(bytes)),
        mime_type: Some(mime_type.to_owned()),
        uri: Some(uri(path)?),
        ..ContentBlock::of_text(String::new())
    })
}

/// Reads a file, or what a pipe such as `<(git diff)` gives.
fn read(flag: &str, path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |source: io::Error| wrong(flag, path, &format!("cannot be read ({source}); check the path"));
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        let problem =
            "is a folder; name one file of it, or put the folder into the workspace and name it in the prompt";
        return Err(wrong(flag, path, problem));
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_PROMPT_FILE).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.is_empty() {
        return Err(wrong(flag, path, "is empty; name a file with content"));
    }
    if bytes.len() > MAX_PROMPT_FILE {
        let problem = format!(
            "has more than {} MiB, the limit; put it into the workspace, and name it in the prompt",
            MAX_PROMPT_FILE >> 20
        );
        return Err(wrong(flag, path, &problem));
    }
    Ok(bytes)
}

fn wrong(flag: &str, path: &Path, problem: &str) -> CliError {
    CliError::Usage(format!("{flag} {} {problem}", path.display()))
}

/// The type of an image, by its first bytes: a name can be wrong, and the model's API refuses a wrong type.
fn image_type(bytes: &[u8]) -> Option<&'static str> {
    let is_webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    let kinds: [(bool, &str); 4] = [
        (bytes.starts_with(b"\x89PNG\r\n\x1a\n"), "image/png"),
        (bytes.starts_with(b"\xff\xd8\xff"), "image/jpeg"),
        (
            bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a"),
            "image/gif",
        ),
        (is_webp, "image/webp"),
    ];
    kinds.into_iter().find(|(is_kind, _)| *is_kind).map(|(_, kind)| kind)
}

fn uri(path: &Path) -> Result<String, CliError> {
    let path = std::path::absolute(path).map_err(CliError::Io)?;
    let path = path.to_string_lossy();
    let names: Vec<String> = path.split('/').map(escape).collect();
    Ok(format!("file://{}", names.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_joined_to_a_prompt() {
        assert_eq!(text(&["fix".into(), "it".into()]).unwrap(), "fix it");
        assert!(matches!(text(&[" ".into()]), Err(CliError::Usage(_))));
    }

    #[test]
    fn image_is_known_by_its_first_bytes() {
        assert_eq!(image_type(b"\x89PNG\r\n\x1a\nrest"), Some("image/png"));
        assert_eq!(image_type(b"RIFF\0\0\0\0WEBPVP8 "), Some("image/webp"));
        for other in [&b""[..], b"RIFF\0\0\0\0WAVE", b"<svg/>", b"\x89PN"] {
            assert_eq!(image_type(other), None);
        }
    }
}
