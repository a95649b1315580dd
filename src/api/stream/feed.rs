//! The loop under every event stream: read, and where there is nothing to read, wait or end.
//!
//! A feed holds a cursor and nothing else, so a reader that stalls costs its socket and the piece it has not
//! taken yet.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::http::line_breaks::{LineBreaks, escape};
use crate::runtime::{Runtime, RuntimeError, Session};
use promptd_agents::updates::{self, Line, Translation};
use promptd_follow::Follower;
use promptd_journal::{Piece, ReadError};
use promptd_model::{SessionState, View};

/// After this much silence a comment is sent, so that no proxy closes the connection as idle.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// When a feed ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// At the end of the journal as it is now.
    Now,
    /// At the end of the journal once all turns have ended.
    Settled,
    /// When the session is deleted.
    Deleted,
}

/// What comes next in a feed.
#[derive(Debug)]
pub(crate) enum Step {
    Piece(Piece),
    /// Instead of pieces, where the view is not the journal itself.
    Lines(Vec<Line>),
    /// Nothing has come for a while.
    Silence,
    /// Nothing will come any more.
    End,
    /// The server shuts down; the next server has the rest.
    Shutdown,
}

/// A cursor in a session's journal, with everything that may end the stream.
#[derive(Debug)]
pub(crate) struct Feed {
    runtime: Arc<Runtime>,
    session: Arc<Session>,
    follower: Follower,
    /// From records to lines of the view; none where the view is the journal itself.
    translation: Option<Translation>,
    shutdown: watch::Receiver<bool>,
    changes: watch::Receiver<Arc<SessionState>>,
    breaks: watch::Receiver<u64>,
    until: Until,
    silent_since: Instant,
    /// The piece before reached the journal's end.
    at_end: bool,
    /// Takes up secrets that become known while the feed lasts. Not where the length of the masked text was promised.
    renews_mask: bool,
    /// Of the secrets that the mask hides; `None` before the first reading.
    generation: Option<(u64, u64)>,
    /// The piece before ended in the middle of a line.
    in_line: bool,
    /// For readers of JSON lines; none where the exact bytes are wanted.
    line_breaks: Option<LineBreaks>,
}

impl Feed {
    /// Opens a feed of what follows the record `after`.
    pub(crate) fn open(
        runtime: &Arc<Runtime>,
        session: &Arc<Session>,
        after: u64,
        until: Until,
        view: View,
    ) -> Result<Self, RuntimeError> {
        // A cursor outside the journal is refused in every view.
        let mut follower = runtime.follow(session, after)?;
        if view == View::Raw {
            return Ok(Self {
                renews_mask: true,
                line_breaks: Some(LineBreaks::default()),
                ..Self::from_follower(runtime, session, follower, until)
            });
        }
        let state = session.state();
        let begin = updates::replay_start(&state, after);
        if begin < after {
            follower = runtime.follow(session, begin)?;
        }
        Ok(Self {
            translation: Some(runtime.translation(session, after).with_past(&state)),
            renews_mask: true,
            line_breaks: Some(LineBreaks::default()),
            ..Self::from_follower(runtime, session, follower, until)
        })
    }

    /// A feed of the journal as a follower gives it, with the follower's mask.
    pub(crate) fn from_follower(
        runtime: &Arc<Runtime>,
        session: &Arc<Session>,
        follower: Follower,
        until: Until,
    ) -> Self {
        Self {
            follower,
            translation: None,
            shutdown: runtime.shutdown.subscribe(),
            changes: session.changes(),
            breaks: runtime.machine.breaks(),
            runtime: Arc::clone(runtime),
            session: Arc::clone(session),
            until,
            silent_since: Instant::now(),
            at_end: false,
            renews_mask: false,
            generation: None,
            in_line: false,
            line_breaks: None,
        }
    }

    /// The `seq` of the last record that was read, where records may have no line in the view.
    pub(crate) fn last_read(&self) -> Option<u64> {
        self.translation.as_ref().map(Translation::seq)
    }

    /// Ends the feed once the turns that it follows are over.
    pub(crate) fn end_when_settled(&mut self) {
        self.until = Until::Settled;
    }

    /// Something was sent: the silence starts again.
    pub(crate) fn reset_silence(&mut self) {
        self.silent_since = Instant::now();
    }

    /// Waits for what comes next; `seen` is the `seq` of the last record that came out of this feed.
    pub(crate) async fn next(&mut self, seen: u64) -> Result<Step, ReadError> {
        loop {
            if *self.shutdown.borrow() {
                return Ok(Step::Shutdown);
            }
            // The last bytes of the journal go out before the journal is read again.
            if !std::mem::take(&mut self.at_end)
                && let Some(piece) = self.read().await?
            {
                self.at_end = self.follower.at_end();
                let Some(translation) = &mut self.translation else {
                    return Ok(Step::Piece(self.escape(piece)));
                };
                let mut lines = translation.push_bytes(&piece.bytes);
                if !lines.is_empty() {
                    for line in &mut lines {
                        line.text = escape(std::mem::take(&mut line.text));
                    }
                    return Ok(Step::Lines(lines));
                }
                // What lies before the cursor can be long; other tasks get their turn.
                tokio::task::yield_now().await;
                continue;
            }
            let seen = self.last_read().unwrap_or(seen);
            self.changes.mark_unchanged();
            let state = self.session.state();
            if self.is_over(&state, seen) {
                return Ok(Step::End);
            }
            let silence_ends = self.silent_since + KEEP_ALIVE;
            let silent = tokio::select! {
                () = self.follower.changed() => false,
                // Another task folds the state, which lags behind what we have read.
                changed = self.changes.changed(), if state.last_seq < seen => changed.is_err(),
                () = tokio::time::sleep_until(silence_ends) => true,
                // Sending now lets the kernel find out whether the reader is still there.
                _ = self.breaks.changed() => true,
                () = wait_for_shutdown(&mut self.shutdown) => return Ok(Step::Shutdown),
            };
            if silent {
                self.reset_silence();
                return Ok(if self.is_deleted() { Step::End } else { Step::Silence });
            }
        }
    }

    fn escape(&mut self, mut piece: Piece) -> Piece {
        if let Some(breaks) = &mut self.line_breaks {
            piece.bytes = breaks.escape(piece.bytes);
        }
        piece
    }

    /// A turn that begins can add secrets that were not known when the feed was opened.
    async fn read(&mut self) -> Result<Option<Piece>, ReadError> {
        if self.renews_mask && !self.in_line {
            let generation = Some(self.runtime.masks.generation(&self.session));
            if std::mem::replace(&mut self.generation, generation) != generation {
                self.follower.mask_with(self.runtime.masks.of_session(&self.session))?;
            }
        }
        let piece = self
            .follower
            .read()
            .await
            .inspect_err(|error| tracing::error!(%error, cause = %error.source, "an event stream breaks off"))?;
        self.in_line = piece.as_ref().map_or(self.in_line, |piece| !piece.ends_line);
        Ok(piece)
    }

    fn is_over(&self, state: &SessionState, seen: u64) -> bool {
        match self.until {
            Until::Now => true,
            Until::Settled => state.is_settled() && state.last_seq == seen,
            Until::Deleted => false,
        }
    }

    fn is_deleted(&self) -> bool {
        let current = self.runtime.sessions.get(self.session.id().as_str());
        !current.is_ok_and(|current| Arc::ptr_eq(&current, &self.session))
    }
}

/// Waits until the server shuts down.
pub(crate) async fn wait_for_shutdown(shutdown: &mut watch::Receiver<bool>) {
    // A sender that is gone is a runtime that is gone.
    drop(shutdown.wait_for(|down| *down).await);
}
