//! The wires: what bytes mean, in both directions, and which bytes are let in at all.
//!
//! * `lib0`, `json`: the primitives; `update`: the gate, and what can be done to an update that
//!   passed it; `awareness`: presence
//! * `dialect`: what a session may say and hear, whatever its wire; `y_websocket`,
//!   `hocuspocus`: such wires
//! * `frame`: WebSocket framing of what is sent; `frame_reader`: of what is received; `close`: why a connection ends
//!
//! Nothing here names actix, tokio, sled or a clock.

pub mod awareness;
pub mod close;
pub mod dialect;
pub mod frame;
pub mod frame_reader;
pub mod hocuspocus;
pub mod json;
pub mod lib0;
pub mod update;
pub mod y_websocket;
