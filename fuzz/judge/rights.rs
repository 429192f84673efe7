//! Which updates have right origins.
//!
//! An honest author puts a struct between two neighbours. One that names a right origin which is no neighbour of its
//! origin makes Yjs clients differ, by what they had cut when it came; so no way to get such a document has to show what
//! another does. Without right origins every order gives the same.

use cowrite::protocol::{
    lib0::{Malformed, Reader},
    update::CheckedUpdate,
};

/// Whether any struct of an update has a right origin.
pub fn has_right_origins(update: &CheckedUpdate) -> bool {
    search(&mut Reader::new(update.bytes())).expect("what was checked is read")
}

fn search(r: &mut Reader) -> Result<bool, Malformed> {
    for _ in 0..r.var_uint()? {
        let count = r.var_uint()?;
        id(r)?;
        for _ in 0..count {
            let info = r.byte()?;
            if matches!(info & 0x1f, 0 | 10) {
                r.var_uint()?;
                continue;
            }
            if info & 0x40 != 0 {
                return Ok(true);
            }
            if info & 0x80 != 0 {
                id(r)?;
            } else {
                match r.var_uint()? {
                    0 => id(r)?,
                    _ => drop(r.var_bytes()?),
                }
                if info & 0x20 != 0 {
                    r.var_bytes()?;
                }
            }
            content(r, info & 0x1f)?;
        }
    }
    Ok(false)
}

fn id(r: &mut Reader) -> Result<(), Malformed> {
    r.var_uint()?;
    r.var_uint()?;
    Ok(())
}

fn content(r: &mut Reader, kind: u8) -> Result<(), Malformed> {
    match kind {
        1 => drop(r.var_uint()?),
        2 => {
            for _ in 0..r.var_uint()? {
                r.var_bytes()?;
            }
        }
        3..=5 => drop(r.var_bytes()?),
        6 => {
            r.var_bytes()?;
            r.var_bytes()?;
        }
        7 => {
            if matches!(r.var_uint()?, 3 | 5) {
                r.var_bytes()?;
            }
        }
        8 => {
            for _ in 0..r.var_uint()? {
                any(r)?;
            }
        }
        _ => {
            r.var_bytes()?;
            any(r)?;
        }
    }
    Ok(())
}

/// Recursion as deep as the value, which the check bounds.
fn any(r: &mut Reader) -> Result<(), Malformed> {
    match r.byte()? {
        125 => drop(r.var_int()?),
        124 => drop(r.take(4)?),
        122 | 123 => drop(r.take(8)?),
        116 | 119 => drop(r.var_bytes()?),
        118 => {
            for _ in 0..r.var_uint()? {
                r.var_bytes()?;
                any(r)?;
            }
        }
        117 => {
            for _ in 0..r.var_uint()? {
                any(r)?;
            }
        }
        _ => {}
    }
    Ok(())
}
