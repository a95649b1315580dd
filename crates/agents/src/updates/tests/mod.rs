//! Tests of the view.

mod journal;
mod translation;
