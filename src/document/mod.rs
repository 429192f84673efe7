//! A document as its structs.

pub mod read;
