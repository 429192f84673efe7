//! Every bound of the core, with its unit and its reason. What an operator may change is a setting
//! in `config`; its default is here.

/// Longest document name, in bytes of UTF-8: one that fits a URL line and a log line.
pub const DOCUMENT_ID_BYTES_MAX: usize = 512;

/// Longest token, in bytes: it must fit a request line, and parsing it happens before trust.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// How far the clocks of the issuer and of this server may differ, in milliseconds.
pub const TOKEN_LEEWAY_MS: u64 = 5_000;

/// Most patterns in the `documents` claim: each is tried once per connection.
pub const GRANTS_MAX: usize = 128;

/// Longest pattern of the `documents` claim, in bytes.
pub const PATTERN_BYTES_MAX: usize = DOCUMENT_ID_BYTES_MAX;

/// Longest `sub` or `name` claim, in bytes: both are kept with every session, `sub` with every edit.
pub const CLAIM_TEXT_BYTES_MAX: usize = 256;

/// Longest life of a link, in seconds: as long as revocations are remembered.
pub const LINK_S_MAX: u64 = 30 * 24 * 3_600;

/// Most people by whom a link comes: each is in its token, and is asked about in each revocation.
pub const SHARERS_MAX: usize = 8;

/// Largest message that a client may send, in bytes: a first sync of a large offline document must
/// fit, one client's buffer must not matter to the process.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most connections of one address: everybody in an office of 700 with three tabs each, and a tenth of what a server
/// takes in all.
pub const CONNECTIONS_PER_ADDRESS: usize = 2_000;

/// Most connections of one user: a person has some tabs and devices, an application that connects for itself has more.
pub const CONNECTIONS_PER_USER: usize = 500;

/// Most sessions of one document: each edit is sent to all of them.
pub const SESSIONS_PER_DOCUMENT: usize = 5_000;

/// Most connections of one address that are not WebSockets: a quarter of what there may be of all.
pub const REQUESTS_PER_ADDRESS: usize = 250;

/// How long a connection may take to ask for something, in milliseconds: some round trips of a bad line.
pub const REQUEST_TIMEOUT_MS: u64 = 10_000;

/// Handshakes of one address in a second, some 2 % of one thread.
pub const HANDSHAKES_PER_SECOND: usize = 100;

/// Refusals of one address in a minute that are told in full: 40 people with a page from before the deploy.
pub const REFUSALS_PER_MINUTE: usize = 120;

/// New documents of one address, and of one user, in a minute: nobody makes ten a second by hand.
pub const NEW_DOCUMENTS_PER_MINUTE: usize = 600;

/// What the documents may take that are open for one address, in percent of all memory, where it may become
/// short: behind an address are many people, and a person who works has few documents open.
pub const MEMORY_PERCENT_PER_ADDRESS: usize = 50;
/// The same for one user.
pub const MEMORY_PERCENT_PER_USER: usize = 12;

/// Links that one user, and one address, makes in a minute: nobody shares one a second by hand, and each is a line of the log.
pub const LINKS_PER_MINUTE: u64 = 60;

/// Messages of one connection in a second: people send 30 and a pen 120, a connection with a hundred documents more.
pub const MESSAGES_PER_SECOND: usize = 2_000;

/// Of these, messages that are presence: a bridge that speaks for a hundred people, ten times a second.
pub const PRESENCE_PER_SECOND: usize = 1_000;

/// Bytes of one connection in a second: more than most lines carry.
pub const RECEIVED_BYTES_PER_SECOND: u64 = 8 * 1024 * 1024;

/// How much of one thread's time the messages of one connection may take, in percent.
pub const CPU_PERCENT: usize = 25;

/// For so many seconds' worth a connection is read at once, before any of these rates holds: what was written offline, or a
/// thousand documents on one connection.
pub const PACE_BURST_S: u64 = 10;

/// Deepest nesting of values in a document: every client reads and writes them recursively, and the smallest stack of a
/// browser holds several times as much.
pub const ANY_DEPTH_MAX: usize = 1_024;

/// Deepest nesting of awareness JSON: names, colours, cursors.
pub const AWARENESS_DEPTH_MAX: usize = 64;

/// Updates of more bytes than this are taken, and broadcast, where that delays no other document: it takes a millisecond, and
/// ten for the worst.
pub const UPDATE_HERE_BYTES_MAX: usize = 32 * 1024;

/// From so many client ids on, whatever looks at all of them is done where that delays no other document: a state vector of
/// so many takes a quarter of a millisecond.
pub const CROWD_MIN: usize = 8_192;

/// An update that deletes more clocks than this, of those that are not deleted yet, is heard elsewhere: a few bytes may delete all
/// that there is, and what is dropped is looked at, a nanosecond or ten for each clock.
pub const DELETED_HERE_MAX: u64 = 65_536;

/// Largest message of what a client is sent of a document, in bytes: a provider gives up when no message came for 30 s,
/// and a message that is on its way does not count. A line of 2 kB/s carries one in 24 s.
pub const SYNC_FRAME_BYTES_MAX: usize = 48 * 1024;

/// Largest message of what a client is sent of a document whose line was seen to carry more, in bytes. Some libraries take
/// no messages of more than a mebibyte (Python's `websockets`).
pub const SYNC_WHOLE_BYTES_MAX: usize = 1_000_000;

/// Most clients in one awareness message; a provider sends its own, or all that it knows when asked.
pub const AWARENESS_ENTRIES_MAX: usize = 4_096;

/// Most client ids that one connection may speak for: a provider has one, a bridge to another system some hundred.
pub const AWARENESS_CLIENTS_PER_SESSION_MAX: usize = 512;

/// A state that was not renewed for this long is gone, in microseconds: what `y-protocols` does.
pub const AWARENESS_EXPIRY_US: u64 = 30_000_000;

/// Largest JSON text of one awareness state, in bytes: names, colours, cursors, selections, a small picture.
pub const AWARENESS_STATE_BYTES_MAX: usize = 64 * 1024;

/// Highest clock of an awareness state: a page counts its changes, and will not get there. From there on it must be able
/// to go on.
pub const AWARENESS_CLOCK_MAX: u32 = 1 << 31;

/// Highest clock at which a client id is begun. A page that changes its state a hundred times a second gets there in four
/// months. What is above is room for a page to go on, whatever somebody else has said of its id.
pub const AWARENESS_FIRST_CLOCK_MAX: u32 = 1 << 30;

/// How far a clock may be beyond the one at which its client id was begun, and for each second since then: several times
/// what a page does that is moved over without a pause, connected or not.
pub const AWARENESS_STEPS_AT_ONCE: u64 = 1_000_000;
/// The same for each second.
pub const AWARENESS_STEPS_PER_SECOND: u64 = 1_000;

/// A client id that has left at a higher clock than this is not forgotten: its page could not be seen any more.
pub const AWARENESS_HIGH_CLOCK: u32 = 1 << 24;
/// So many of them are remembered.
pub const AWARENESS_HIGH_CLOCKS_MAX: usize = 1_024;

/// Deepest nesting of shared types: every client deletes and shows them recursively.
pub const TYPE_DEPTH_MAX: u32 = 1_024;

/// From how many clients on the door to yrs looks at how their ids are spread: below, collisions cost little.
pub const CROWDED_CLIENTS_MIN: usize = 4_096;

/// How many clients more than four times its share may fall in one 256th of a hash table.
pub const COLLIDING_CLIENTS_MAX: usize = 64;

/// How many steps reading a document's content takes at most, and showing it again as many: some 2 s of one thread. An
/// honest document of 245 kB, into which 260,000 edits went, takes less than 100,000.
pub const CONTENT_STEPS_MAX: u64 = 1 << 26;

/// How many bytes yrs copies at most where a document's structs are cut again, and may hold at once for it.
pub const CONTENT_CUTTING_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Stack of the thread that yrs runs on: it goes as deep as types are nested, some kilobytes for each level.
pub const CONTENT_STACK_BYTES: usize = 64 * 1024 * 1024;
