//! A response body that a blocking thread writes, and a masker of text on its way there.
//!
//! A channel of a few blocks lies between the thread and the connection. A reader who takes nothing for a while is cut
//! off, because a thread waits for it.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use promptd_artifacts::ArtifactError;
use promptd_mask::{End, Masker};

/// A reader that takes nothing for this long is cut off.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A longer line of a patch is masked in pieces.
const MAX_LINE: usize = 256 << 10;

/// Blocks between the thread that writes a body and the connection that takes it.
const BLOCKS: usize = 4;

/// A body that a blocking thread writes; the thread holds its permit until it is done.
pub(super) fn blocking_body(
    permit: OwnedSemaphorePermit,
    write: impl FnOnce(&mut BodyWriter) -> Result<(), ArtifactError> + Send + 'static,
) -> Body {
    let (sender, receiver) = mpsc::channel(BLOCKS);
    let mut writer = BodyWriter {
        handle: Handle::current(),
        sender,
    };
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        if let Err(error) = write(&mut writer) {
            tracing::warn!(%error, "a response with artifacts breaks off");
            // The headers are gone; breaking off is the only way to say that it is not whole.
            let _gone = writer.sender.try_send(Err(io::Error::other(error)));
        }
    });
    Body::from_stream(stream::unfold(receiver, |mut receiver| async {
        let next = receiver.recv().await?;
        Some((next, receiver))
    }))
}

/// The blocking thread's end of a body.
pub(super) struct BodyWriter {
    handle: Handle,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

impl BodyWriter {
    fn send(&self, bytes: &[u8]) -> Result<(), ArtifactError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let send = self.sender.send(Ok(Bytes::copy_from_slice(bytes)));
        match self
            .handle
            .block_on(async { tokio::time::timeout(STALL_TIMEOUT, send).await })
        {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ArtifactError::ReaderGone),
        }
    }
}

impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Masks a text line by line, as it comes: no secret has a newline in it.
pub(super) struct LineMasker {
    masker: Option<Arc<Masker>>,
    /// The beginning of a line, not sent yet.
    rest: Vec<u8>,
    /// The end of what was sent of the current line.
    before: Vec<u8>,
    /// What was sent ends in a masked secret.
    hidden: bool,
}

impl LineMasker {
    pub(super) fn new(masker: Option<Arc<Masker>>) -> Self {
        Self {
            masker,
            rest: Vec::new(),
            before: Vec::new(),
            hidden: false,
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8], writer: &BodyWriter) -> Result<(), ArtifactError> {
        self.mask(bytes).map_or(Ok(()), |shown| writer.send(&shown))
    }

    pub(super) fn finish(&mut self, writer: &BodyWriter) -> Result<(), ArtifactError> {
        let rest = std::mem::take(&mut self.rest);
        writer.send(&self.part(&rest, true))
    }

    /// The masked form of what is complete by now.
    fn mask(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.rest.extend_from_slice(bytes);
        let whole = memchr::memrchr(b'\n', &self.rest).map(|end| end.saturating_add(1));
        let end = whole.or((self.rest.len() > MAX_LINE).then_some(self.rest.len()))?;
        let ready: Vec<u8> = self.rest.drain(..end).collect();
        Some(self.part(&ready, whole.is_some()))
    }

    fn part(&mut self, bytes: &[u8], ends: bool) -> Vec<u8> {
        let Some(masker) = &self.masker else {
            return bytes.to_vec();
        };
        let end = if ends { End::Closed } else { End::Open };
        let shown = masker.chunk(&self.before, self.hidden, bytes, end);
        let (text, hidden) = (shown.bytes.into_owned(), shown.ends_hidden);
        self.hidden = hidden && !ends;
        self.before.extend_from_slice(bytes);
        let keep = if ends { 0 } else { masker.reach() };
        self.before.drain(..self.before.len().saturating_sub(keep));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptd_mask::Secrets;
    use proptest::prelude::*;

    fn masked(text: &[u8], cut: usize) -> Vec<u8> {
        let mut secrets = Secrets::default();
        secrets.add("s3cret-value");
        let mut lines = LineMasker::new(Masker::new(&secrets).map(Arc::new));
        let mut shown = Vec::new();
        for block in text.chunks(cut) {
            shown.extend(lines.mask(block).unwrap_or_default());
        }
        let rest = std::mem::take(&mut lines.rest);
        shown.extend(lines.part(&rest, true));
        shown
    }

    proptest! {
        #[test]
        fn a_patch_is_masked_the_same_for_every_cut(cut in 1_usize..40) {
            let text = b"+key = s3cret-value\n-s3cret-values3cret-value\n no secret\n+s3cret-value";
            prop_assert_eq!(masked(text, cut), b"+key = ***\n-***\n no secret\n+***");
        }
    }

    #[test]
    fn a_secret_across_pieces_of_a_long_line_is_masked() {
        let mut text = vec![b'x'; MAX_LINE - 4];
        text.extend_from_slice(b"s3cret-value and more\n");
        let shown = masked(&text, MAX_LINE + 1);
        let tail = shown.get(MAX_LINE - 8..).unwrap();
        assert_eq!(tail, b"xxxx*** and more\n");
    }
}
