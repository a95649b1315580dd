//! Tests of the view.

mod journal;
mod past;
mod translation;
