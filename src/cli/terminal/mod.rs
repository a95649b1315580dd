//! The terminal: colours, width, tables, safe text, single keys, and a last line that can be erased.
//!
//! Promises that no text of an agent controls the terminal, and that [`leave`] restores it.

mod colour;
mod keys;
mod screen;
mod table;
mod text;

pub(crate) use self::colour::{Colour, Paint, is_dumb};
pub(crate) use self::keys::key;
pub(crate) use self::screen::{begin_line, draw, erase, has_keys, is_interactive, leave, note_output, quit, width};
pub(crate) use self::table::{Cell, render};
pub(crate) use self::text::{Cleaner, clip, first_line, one_line, seconds};
