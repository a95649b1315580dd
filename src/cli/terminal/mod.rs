//! The terminal of the person: colours, width, tables, safe text, single keys, and the line that can be erased.

mod colour;
mod keys;
mod screen;
mod table;
mod text;

pub(crate) use self::colour::{Colour, Paint, is_dumb};
pub(crate) use self::keys::key;
pub(crate) use self::screen::{begin_line, draw, erase, has_keys, is_read, leave, quit, width, wrote};
pub(crate) use self::table::{Cell, render};
pub(crate) use self::text::{Cleaner, clip, first_line, one_line, seconds};
