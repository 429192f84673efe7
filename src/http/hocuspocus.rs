//! `/hocuspocus`: a socket with a session for each document that its provider attaches to.
//!
//! A session begins with its token. What a provider says about a document before that waits, within bounds, and so
//! does what it says while the document is opened. A document that is denied leaves the others of its socket alone.

use std::{
    pin::pin,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use actix::Addr;
use actix_web::{
    HttpRequest, HttpResponse,
    rt::time::{Instant, sleep_until},
    web::{Bytes, Data, Payload},
};
use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot};

use crate::{
    access::Identity,
    actor::{
        clock,
        document::{DocumentActor, Join, Leave, Renew},
    },
    budgets::Network,
    id::DocumentId,
    nodes::Said as Behalf,
    protocol::{
        close::CloseReason,
        dialect::{Dialect, Inbound, Outbound},
        hocuspocus::{self, Address, Message, Unread},
    },
    room::{
        outbox::{Kind, Outbox, Side},
        session::{Joining, SessionId},
        stream::Probe,
    },
};

use super::{
    Shared, admission,
    doorkeeper::{self, Place},
    inner::{self, Away, Came, News, Room, Ties},
    line::{self, Event, Open, Reader},
    refusals,
    session::{self, Batch},
    switchboard::{Switchboard, SwitchboardBody},
    tunnel::{self, Answer},
    unfinished::Begun,
};

/// What may wait for tokens on one socket: bytes, messages, documents.
const WAITING_BYTES_MAX: usize = 5 * 1024 * 1024;
const WAITING_MESSAGES_MAX: usize = 1_000;
const WAITING_DOCUMENTS_MAX: usize = 100;
/// What may wait for documents that are being opened, in bytes: above that the socket is not read.
const OPENING_BYTES_MAX: usize = 1024 * 1024;
/// Most documents that are being opened for one socket, those that were left again included: above that it is not read.
const OPENINGS_MAX: usize = 64;
/// What it costs to remember a document without a session, beside its name, in bytes.
const REMEMBERED_COST: usize = 256;
/// From here on it is counted anew what is remembered, in bytes.
const REMEMBERED_BYTES: usize = 64 * 1024;
/// What a token that waits costs, in bytes: claims and their place in a list.
const RENEWAL_COST: usize = 1_024;
/// How often a socket is looked at of which nothing is heard.
const LOOK: Duration = Duration::from_secs(15);
/// How long a socket whose only documents have no room waits for others before it is closed, so that it comes back.
const ALONE: Duration = Duration::from_secs(2);
/// The same for one between two nodes, which ends when its session has.
const INNER_LOOK: Duration = Duration::from_secs(1);
/// Most documents on one socket.
const DOCUMENTS_MAX: usize = 1_000;
/// Most messages that are taken before what they are for is handed over.
const TURN_MESSAGES_MAX: usize = 1_024;

/// `GET /hocuspocus`, and any path below.
pub async fn connect(request: HttpRequest, payload: Payload, shared: Data<Shared>) -> actix_web::Result<HttpResponse> {
    let said = tunnel::said(&request);
    let is_inner = matches!(said, Some(Behalf::Document(_)));
    if is_inner && !inner::is_here(&request, &shared).await {
        return Ok(tunnel::not_here());
    }
    let visit = match admission::admit_line(&request, &shared).await {
        Ok(visit) => visit,
        Err(refusal) => {
            return admission::refuse(&request, &admission::credentials(&request), &[], refusal, &shared).await;
        }
    };
    let network = visit.network;
    let response = line::handshake(&request, &admission::credentials(&request)).await?;
    let (board, own) = Switchboard::new(2 * shared.outbox_bytes_max, shared.memory.outboxes().clone());
    shared.lines.add(&board);
    shared.doorkeeper.is_line(network, own.line());
    if !is_inner {
        // The node between collects each message.
        line::says_who(&request, own.line());
    }
    tunnel::node(&request, &shared)
        .iter()
        .for_each(|node| own.line().comes_through(*node));
    let body = SwitchboardBody::new(board.clone(), Open::count(&shared, visit));
    let reader = Reader::new(payload, own.clone(), &shared);
    let path = super::path(&request, &shared).to_owned();
    let mut socket = Socket::new(shared, board, own.clone(), path, network);
    socket.is_inner = is_inner;
    socket.came = (said.is_none() && socket.shared.nodes.is_some()).then(|| Rc::new(Came::of(&request)));
    log::debug!("connection {} begins, from {}", socket.id, line::peer(&request));
    actix_web::rt::spawn(socket.live(reader));
    Ok(line::begins(response, body, own))
}

/// The reading side.
struct Socket {
    /// Its name in the log.
    id: u64,
    shared: Data<Shared>,
    board: Arc<Switchboard>,
    /// For what belongs to no session.
    own: Arc<Outbox>,
    path: String,
    /// Where it comes from, if that is counted.
    network: Option<Network>,
    /// The users that its sessions are of.
    users: FxHashMap<Arc<str>, Place>,
    /// How many messages were presence that the reader was not told of.
    presence: u32,
    seats: FxHashMap<Address, Seat>,
    /// Sessions whose batch is not empty.
    touched: Vec<Address>,
    /// One of these is to be handed over before more is added.
    has_full_batch: bool,
    waiting: Waiting,
    /// What waits for tokens and for documents, and who was denied or has left, as a part of what waits for all connections.
    kept: Begun,
    /// What it costs at most to remember who was denied or has left, in bytes.
    remembered_bytes: usize,
    /// Documents that could not be entered for now, while nobody is on the socket.
    outside: Outside,
    /// Bytes that wait for documents that are being opened.
    opening_bytes: usize,
    /// Documents that are being opened.
    openings: usize,
    /// Since when there is nobody on it, or a document waits for its token.
    unknown_since: Option<Instant>,
    /// Another node's, for one document: it ends with its session, and that node counts its user.
    is_inner: bool,
    /// A token has come.
    has_begun: bool,
    /// How its client came, if some of its documents may live elsewhere.
    came: Option<Rc<Came>>,
    joined: (mpsc::UnboundedSender<Joined>, mpsc::UnboundedReceiver<Joined>),
    /// Of documents that live elsewhere.
    news: (mpsc::UnboundedSender<News>, mpsc::UnboundedReceiver<News>),
    /// For what is said to other nodes.
    room: Room,
}

/// What waits for tokens.
#[derive(Debug, Default)]
struct Waiting {
    bytes: usize,
    messages: usize,
    documents: usize,
}

/// Documents that could not be entered for now. With somebody else on the socket their clients are told so. With nobody, the
/// socket is closed: its provider comes back by itself.
#[derive(Debug, Default)]
struct Outside {
    documents: Vec<(Address, CloseReason)>,
    until: Option<Instant>,
}

/// One document on the socket.
enum Seat {
    /// Its token has not come.
    Waiting(Vec<Unread>),
    /// Its document is being opened.
    Opening(Opening),
    Live(Live),
    /// Its document lives on another node.
    Away(Away, Gone),
    /// Its client was told why; it may send another token.
    Denied,
    /// Its client has left it; it may come back.
    Left(Gone),
}

struct Opening {
    id: SessionId,
    outbox: Arc<Outbox>,
    dialect: Dialect,
    said: Arc<Mutex<Meanwhile>>,
    gone: Gone,
}

/// What a client said while its document was being opened.
#[derive(Debug, Default)]
struct Meanwhile {
    said: Vec<Said>,
    bytes: usize,
}

#[derive(Debug)]
enum Said {
    Message(Unread),
    /// It has another token.
    Renewed(Identity, Token),
}

/// What a client showed, to be shown again.
#[derive(Debug, Clone)]
struct Token {
    token: String,
    has_version: bool,
}

impl Token {
    fn message(&self, address: &Address) -> Bytes {
        hocuspocus::auth(address, &self.token, self.has_version)
    }
}

/// Where a document is.
enum Found {
    Here(Addr<DocumentActor>),
    /// On another node, to which there is a WebSocket now.
    There(Answer),
}

struct Live {
    id: SessionId,
    outbox: Arc<Outbox>,
    dialect: Dialect,
    actor: Addr<DocumentActor>,
    batch: Batch,
    /// Dropped when it has left its document.
    here: Here,
    gone: Gone,
}

/// A session has joined its document, or has not.
struct Joined {
    address: Address,
    id: SessionId,
    found: Result<Found, CloseReason>,
    token: Token,
    said: Arc<Mutex<Meanwhile>>,
    here: Here,
    /// For what comes from another node.
    outbox: Arc<Outbox>,
    own: Arc<Outbox>,
    ties: Ties,
    shared: Data<Shared>,
}

/// What a session holds as long as it may be heard of by its document, and what waits for its end: the next session of the
/// same address must not overtake it.
pub type Here = oneshot::Sender<()>;
type Gone = oneshot::Receiver<()>;

/// What reading comes to.
enum Taken {
    More,
    End,
}

impl Socket {
    fn new(
        shared: Data<Shared>,
        board: Arc<Switchboard>,
        own: Arc<Outbox>,
        path: String,
        network: Option<Network>,
    ) -> Self {
        let kept = Begun::on(&shared.unfinished, &own);
        Self {
            id: shared.next_session.fetch_add(1, Ordering::Relaxed),
            shared,
            board,
            own,
            path,
            network,
            users: FxHashMap::default(),
            presence: 0,
            seats: FxHashMap::default(),
            touched: Vec::new(),
            has_full_batch: false,
            waiting: Waiting::default(),
            kept,
            remembered_bytes: 0,
            outside: Outside::default(),
            opening_bytes: 0,
            openings: 0,
            unknown_since: Some(Instant::now()),
            is_inner: false,
            has_begun: false,
            came: None,
            joined: mpsc::unbounded_channel(),
            news: mpsc::unbounded_channel(),
            room: Room::default(),
        }
    }

    async fn live(mut self, mut reader: Reader) {
        self.own.line().heard(clock::now() / 1_000);
        if let Err(reason) = self.read(&mut reader).await {
            self.shared.metrics.ended(reason.label());
            refusals::say(format_args!(
                "connection {} with {} documents was closed: {reason}",
                self.id,
                self.seats.len()
            ));
            self.own.close(&reason);
        }
        self.own.hang_up();
        for address in self.seats.keys().cloned().collect::<Vec<_>>() {
            drop(self.leave(&address));
        }
        self.joined.1.close();
        while let Ok(joined) = self.joined.1.try_recv() {
            joined.leave();
        }
        log::debug!("connection {} has ended", self.id);
    }

    /// Reads until the connection ends; fails with the reason when it was this side that found one.
    async fn read(&mut self, reader: &mut Reader) -> Result<(), CloseReason> {
        let shared = self.shared.clone();
        // Kept over the turns: to wait for a time or for a notice anew costs more than a message does.
        let mut stops = pin!(shared.stopping.notified());
        let look = if self.is_inner { INNER_LOOK } else { LOOK };
        let mut alarm = pin!(sleep_until(Instant::now() + look));
        loop {
            if !self.has_session() {
                if self.is_inner && self.has_begun && self.openings == 0 {
                    if let Some((_, reason)) = std::mem::take(&mut self.outside).documents.pop() {
                        return Err(reason);
                    }
                    // Its client was told why. The socket that it belongs to goes on.
                    self.own.echo_close(Some(1000));
                    return Ok(());
                }
                if shared.draining.load(Ordering::Relaxed) || shared.is_stranded() {
                    return Err(CloseReason::Restarting);
                }
                self.unknown_since.get_or_insert_with(Instant::now);
            }
            let unknown_until = self.unknown_since.map(|since| since + shared.auth_timeout);
            let deadline = unknown_until.into_iter().chain(self.outside.until).min();
            if let Some(deadline) = deadline
                && deadline != alarm.deadline()
            {
                alarm.as_mut().reset(deadline);
            }
            let has_room = self.opening_bytes < OPENING_BYTES_MAX && self.openings < OPENINGS_MAX;
            tokio::select! {
                event = reader.next(), if has_room => {
                    // The writing side may have thrown away some of what came: a message would have holes.
                    if self.board.is_closed() {
                        return Ok(());
                    }
                    let taken = self.take_turn(event, reader).await;
                    reader.heard_presence(std::mem::take(&mut self.presence));
                    self.hand_over().await?;
                    if let Taken::End = taken? {
                        return Ok(());
                    }
                }
                Some(joined) = self.joined.1.recv() => {
                    self.has_joined(joined).await?;
                    self.keeps()?;
                    self.hand_over().await?;
                }
                Some(news) = self.news.1.recv() => self.hear_of_other_node(news),
                () = alarm.as_mut() => {
                    let has_passed = |until: &Instant| *until <= Instant::now();
                    if self.outside.until.as_ref().is_some_and(has_passed)
                        && let Some((_, reason)) = std::mem::take(&mut self.outside).documents.pop()
                    {
                        return Err(reason);
                    }
                    if unknown_until.as_ref().is_some_and(has_passed) {
                        return Err(CloseReason::Reset("no token came in time".to_owned()));
                    }
                    alarm.as_mut().reset(Instant::now() + look);
                }
                () = stops.as_mut() => stops.set(shared.stopping.notified()),
                () = self.own.line().given_up(Side::Reads) => return Ok(()),
            }
            if self.own.is_closing() {
                return Ok(());
            }
        }
    }

    /// Takes what has arrived.
    async fn take_turn(&mut self, first: Event, reader: &mut Reader) -> Result<Taken, CloseReason> {
        let (mut next, mut taken) = (Some(first), 0);
        while let Some(event) = next.take() {
            if let Taken::End = self.take(event).await? {
                return Ok(Taken::End);
            }
            taken += 1;
            let goes_on = taken < TURN_MESSAGES_MAX
                && self.opening_bytes < OPENING_BYTES_MAX
                && self.openings < OPENINGS_MAX
                && !self.has_full_batch;
            // What is fetched here has to be taken.
            if goes_on {
                next = reader.next_now();
            }
        }
        Ok(Taken::More)
    }

    async fn take(&mut self, event: Event) -> Result<Taken, CloseReason> {
        match event {
            Event::Message(bytes) => {
                self.shared.metrics.received_bytes.inc_by(bytes.len() as u64);
                if bytes.first() == Some(&0) {
                    return Err(CloseReason::Refused(format!(
                        "this address speaks Hocuspocus: y-websocket's providers connect to {}/ws{}",
                        self.shared.base_path.as_str(),
                        self.path.strip_prefix("/hocuspocus").unwrap_or_default()
                    )));
                }
                if let hocuspocus::Said::To(address, message) = hocuspocus::parse(&bytes)? {
                    let is_heard = matches!(&message, Message::Other(unread) if self.hear_live(&address, unread));
                    if !is_heard {
                        self.hear(address.kept(), message.kept()).await?;
                        self.keeps()?;
                    }
                }
            }
            Event::Ping(payload) => self.own.pong(&payload),
            Event::Pong(payload) => self.hear_pong(&payload),
            Event::Closes(code) => {
                self.own.echo_close(code);
                return Ok(Taken::End);
            }
            Event::Errs(reason) => return Err(reason),
            Event::Gone => return Ok(Taken::End),
        }
        Ok(Taken::More)
    }

    /// Tells whoever waits for it what the line carries.
    fn hear_pong(&mut self, payload: &Bytes) {
        let Some(probe) = Probe::of(payload) else { return };
        for (address, seat) in &mut self.seats {
            match seat {
                Seat::Live(live) if live.id == probe.session => {
                    if live.batch.is_empty() {
                        self.touched.push(address.clone());
                    }
                    live.batch.add(payload.len(), Inbound::Pong(probe.number));
                }
                Seat::Away(away, _) => away.hear_pong(payload),
                _ => {}
            }
        }
    }

    async fn hear(&mut self, address: Address, message: Message) -> Result<(), CloseReason> {
        match message {
            Message::Auth { token, has_version } => self.authenticate(address, &token, has_version).await,
            Message::Close => {
                if let Some(gone) = self.leave(&address) {
                    self.remember(address, Seat::Left(gone));
                }
                Ok(())
            }
            Message::Other(unread) => self.hear_other(address, unread).await,
        }
    }

    /// Hears what most messages are, with two looks at a table and no copy: something sound for a document that is open.
    /// False when it is anything else, or takes long to read.
    fn hear_live(&mut self, address: &Address, unread: &Unread) -> bool {
        !unread.takes_long() && self.hear_read(address, unread.bytes(), || unread.read())
    }

    /// Hears what takes long to read, for a document that is open. False when it is not.
    async fn hear_long(&mut self, address: &Address, unread: &Unread) -> Result<bool, CloseReason> {
        let is_live = matches!(self.seats.get(address), Some(Seat::Live(live)) if !live.outbox.is_closing());
        if !is_live {
            return Ok(false);
        }
        let bytes = unread.bytes();
        let unread = unread.clone();
        let (read, waiting) = session::aside(&self.shared, self.own.line(), bytes, move || unread.read()).await?;
        match read {
            Ok(inbound) => {
                let is_heard = self.hear_read(address, bytes, || Ok(inbound));
                if let Some(Seat::Live(live)) = self.seats.get_mut(address).filter(|_| is_heard) {
                    live.batch.holds(waiting);
                }
                Ok(is_heard)
            }
            Err(reason) => {
                self.end(address, reason)?;
                self.keeps()?;
                Ok(true)
            }
        }
    }

    fn hear_read(
        &mut self,
        address: &Address,
        bytes: usize,
        read: impl FnOnce() -> Result<Inbound, CloseReason>,
    ) -> bool {
        let Some(Seat::Live(live)) = self.seats.get_mut(address) else {
            return false;
        };
        if live.outbox.is_closing() {
            return false;
        }
        let Ok(inbound) = read() else { return false };
        if live.batch.is_empty() {
            self.touched.push(address.clone());
        }
        self.presence += u32::from(matches!(inbound, Inbound::Awareness(_) | Inbound::AwarenessQuery));
        live.batch.add(bytes, inbound);
        self.has_full_batch |= live.batch.is_full();
        true
    }

    async fn hear_other(&mut self, address: Address, unread: Unread) -> Result<(), CloseReason> {
        if self.hear_live(&address, &unread) || unread.takes_long() && self.hear_long(&address, &unread).await? {
            return Ok(());
        }
        match self.seats.get_mut(&address) {
            Some(Seat::Live(live)) if !live.outbox.is_closing() => match unread.read() {
                Ok(_) => Ok(()),
                Err(reason) => self.end(&address, reason),
            },
            // What it says until it has read that it is denied goes nowhere.
            Some(Seat::Live(_) | Seat::Denied) => Ok(()),
            Some(Seat::Away(away, _)) => {
                away.say(unread.again(&address)).await;
                Ok(())
            }
            Some(Seat::Left(_)) if !unread.asks_for_document() => Ok(()),
            Some(Seat::Opening(opening)) => {
                self.opening_bytes += opening.say(Said::Message(unread));
                Ok(())
            }
            Some(Seat::Left(_) | Seat::Waiting(_)) | None => {
                // Providers 2 without a token send none, and begin with this question.
                let has_no_token = unread.asks_for_document();
                self.wait(address.clone(), unread)?;
                if has_no_token {
                    return self.authenticate(address, "", false).await;
                }
                Ok(())
            }
        }
    }

    /// Keeps what was said until the token comes.
    fn wait(&mut self, address: Address, unread: Unread) -> Result<(), CloseReason> {
        self.waiting.bytes += unread.bytes();
        self.waiting.messages += 1;
        let waiting = &mut self.waiting;
        match self.seats.get_mut(&address) {
            Some(Seat::Waiting(said)) => said.push(unread),
            _ => {
                waiting.documents += 1;
                self.seats.insert(address, Seat::Waiting(vec![unread]));
            }
        }
        self.unknown_since.get_or_insert_with(Instant::now);
        if self.waiting.bytes > WAITING_BYTES_MAX
            || self.waiting.messages > WAITING_MESSAGES_MAX
            || self.waiting.documents > WAITING_DOCUMENTS_MAX
        {
            let reason = "too much was sent before a token".to_owned();
            return Err(CloseReason::Reset(reason));
        }
        Ok(())
    }

    /// What waited for the token of this document, which waits no longer.
    fn said_before(&mut self, address: &Address) -> Vec<Unread> {
        let said = match self.seats.remove(address) {
            Some(Seat::Waiting(said)) => said,
            _ => return Vec::new(),
        };
        self.waiting.documents -= 1;
        self.waiting.messages -= said.len();
        self.waiting.bytes -= said.iter().map(Unread::bytes).sum::<usize>();
        said
    }

    async fn authenticate(&mut self, address: Address, token: &str, has_version: bool) -> Result<(), CloseReason> {
        self.has_begun = true;
        let shown = Token {
            token: token.to_owned(),
            has_version,
        };
        let admitted = self.admit(&address, token).await;
        match (admitted, self.seats.get_mut(&address)) {
            (Ok((_, identity)), Some(Seat::Opening(opening))) => {
                self.opening_bytes += opening.say(Said::Renewed(identity, shown));
            }
            (Ok(_), Some(Seat::Away(away, _))) if !away.outbox.is_closing() => away.say(shown.message(&address)).await,
            (Ok((document, identity)), Some(Seat::Live(live))) if !live.outbox.is_closing() => {
                let renewed = live.renew(identity, &document, &self.shared).await;
                renewed.or_else(|reason| self.end(&address, reason))?;
            }
            (Ok(_), Some(Seat::Live(_))) => {
                // Its room has ended it. A provider that sent this before it heard so takes the next session for the one that
                // it had: it asks for nothing, and would hear nothing of the document any more.
                let reason = "the token came after the session had ended, begin anew";
                return Err(CloseReason::Reset(reason.to_owned()));
            }
            (Ok((document, identity)), _) => self.open(address, document, identity, shown),
            // What holds of the token that it has nobody knows: it comes back with both.
            (Err(reason), Some(Seat::Opening(_) | Seat::Live(_) | Seat::Away(..))) if is_for_now(&reason) => {
                return Err(reason);
            }
            (Err(reason), _) if is_for_now(&reason) => {
                drop(self.leave(&address));
                self.stays_outside(address, reason);
            }
            (Err(reason), _) => {
                drop(self.leave(&address));
                self.deny(address, &reason);
            }
        }
        let waits = self.waiting.documents > 0;
        self.unknown_since = self.unknown_since.filter(|_| waits || !self.has_session());
        Ok(())
    }

    /// What costs nothing comes first: nobody has keys looked for who would not be let in with them.
    async fn admit(&mut self, address: &Address, token: &str) -> Result<(DocumentId, Identity), CloseReason> {
        let document = self.may_be_opened(address, token)?;
        admission::prepare(Some(token), &self.shared).await;
        let began = clock::thread_cpu();
        let identity = admission::identify(Ok(Some(token)), &document, &self.shared);
        self.own.line().spends(clock::thread_cpu().saturating_sub(began));
        let identity = identity?;
        if !self.is_inner {
            self.is_of(&identity)?;
        }
        Ok((document, identity))
    }

    fn may_be_opened(&self, address: &Address, token: &str) -> Result<DocumentId, CloseReason> {
        let document =
            DocumentId::parse(address.document()).map_err(|invalid| CloseReason::Refused(invalid.to_string()))?;
        if token.is_empty() && self.shared.keys.is_some() {
            let reason = "a token is needed: give it to the provider as `token`".to_owned();
            return Err(CloseReason::Unauthenticated(reason));
        }
        let has_session = matches!(
            self.seats.get(address),
            Some(Seat::Opening(_) | Seat::Live(_) | Seat::Away(..))
        );
        let sessions = || self.seats.values().filter(|seat| seat.is_session()).count();
        if !has_session && sessions() >= DOCUMENTS_MAX {
            let reason = format!("a connection takes {DOCUMENTS_MAX} documents");
            return Err(CloseReason::Forbidden(reason));
        }
        Ok(document)
    }

    /// Counts the socket for a user, once.
    fn is_of(&mut self, identity: &Identity) -> Result<(), CloseReason> {
        let user = doorkeeper::user(identity, self.network).filter(|user| !self.users.contains_key(user));
        if let Some(place) = self.shared.doorkeeper.user_connects(user.as_ref())? {
            self.users.extend(user.map(|user| (user, place)));
        }
        Ok(())
    }

    /// Begins a session: it joins its document, and what its client says meanwhile waits.
    fn open(&mut self, address: Address, document: DocumentId, identity: Identity, token: Token) {
        // The one before it has not left yet, perhaps.
        let before = match self.seats.remove(&address) {
            Some(Seat::Left(gone)) => Some(gone),
            Some(Seat::Live(live)) => Some(live.gone),
            Some(Seat::Away(_, gone)) => Some(gone),
            Some(seat) => {
                self.seats.insert(address.clone(), seat);
                None
            }
            None => None,
        };
        self.outside.documents.retain(|(outside, _)| *outside != address);
        let mut meanwhile = Meanwhile::default();
        for unread in self.said_before(&address) {
            self.opening_bytes += meanwhile.add(Said::Message(unread));
        }
        self.openings += 1;
        let id = SessionId(self.shared.next_session.fetch_add(1, Ordering::Relaxed));
        let outbox = self.board.plug_in();
        let dialect = Dialect::Hocuspocus {
            address: address.clone(),
            has_version: token.has_version,
        };
        let joining = Joining {
            id,
            expires: identity.expires_at_ms.map(clock::at_wall_ms),
            accounts: self.shared.doorkeeper.accounts(self.network, &identity),
            identity,
            dialect: dialect.clone(),
            outbox: outbox.clone(),
        };
        let begins = session::begins(&self.shared, self.network, &joining.identity);
        let join = Join { joining, begins };
        let (here, gone) = oneshot::channel();
        let said = Arc::new(Mutex::new(meanwhile));
        let opening = Opening {
            id,
            outbox: outbox.clone(),
            dialect,
            said: said.clone(),
            gone,
        };
        self.seats.insert(address.clone(), Seat::Opening(opening));
        let (shared, joined) = (self.shared.clone(), self.joined.0.clone());
        let (came, own) = (self.came.clone(), self.own.clone());
        let ties = Ties {
            news: self.news.0.clone(),
            room: self.room.clone(),
        };
        actix_web::rt::spawn(async move {
            if let Some(before) = before {
                // It ends by being dropped.
                let _ = before.await;
            }
            let there = match (&came, &shared.nodes) {
                (Some(came), Some(nodes)) => came.find(nodes, &document, &shared).await,
                _ => Ok(None),
            };
            let found = match there {
                Ok(None) => session::join(&shared, join, &document).await.map(Found::Here),
                Ok(Some(answer)) => Ok(Found::There(answer)),
                Err(reason) => Err(reason),
            };
            let unsent = joined.send(Joined {
                address,
                id,
                found,
                token,
                said,
                here,
                outbox,
                own,
                ties,
                shared: shared.clone(),
            });
            if let Err(unsent) = unsent {
                unsent.0.leave();
            }
        });
    }

    async fn has_joined(&mut self, joined: Joined) -> Result<(), CloseReason> {
        self.openings -= 1;
        let opening = match self.seats.remove(&joined.address) {
            Some(Seat::Opening(opening)) if opening.id == joined.id => opening,
            other => {
                // It was left meanwhile, and perhaps attached to again.
                other.map(|seat| self.seats.insert(joined.address.clone(), seat));
                joined.leave();
                return Ok(());
            }
        };
        let said = std::mem::take(&mut *lock(&joined.said));
        self.opening_bytes -= said.bytes;
        // What is large of it counts while it is read.
        self.keeps()?;
        let address = joined.address.clone();
        let Opening {
            id,
            outbox,
            dialect,
            gone,
            ..
        } = opening;
        let (actor, here) = match joined.found {
            Ok(Found::Here(actor)) => (actor, joined.here),
            Ok(Found::There(answer)) => {
                log::debug!(
                    "document {} of connection {} lives elsewhere",
                    address.document(),
                    self.id
                );
                let Joined {
                    own,
                    here,
                    ties,
                    shared,
                    ..
                } = joined;
                let away = Away::begin(answer, address.clone(), outbox, own, here, ties, &shared);
                away.say(joined.token.message(&address)).await;
                say_all(&away, &address, said).await;
                self.seats.insert(address, Seat::Away(away, gone));
                return Ok(());
            }
            Err(reason) => {
                self.shared.metrics.ended(reason.label());
                outbox.hang_up();
                if is_for_now(&reason) {
                    self.stays_outside(address, reason);
                    return Ok(());
                }
                return self.refuse(address, &dialect, reason);
            }
        };
        self.others_stay_outside();
        log::debug!(
            "session {} of document {} has joined, on connection {}",
            id.0,
            address.document(),
            self.id
        );
        let live = Live {
            id,
            outbox,
            dialect,
            actor,
            batch: Batch::default(),
            here,
            gone,
        };
        self.seats.insert(address.clone(), Seat::Live(live));
        for said in said.said {
            match (said, self.seats.get_mut(&address)) {
                (Said::Message(unread), _) => Box::pin(self.hear_other(address.clone(), unread)).await?,
                (Said::Renewed(identity, _), Some(Seat::Live(live))) => {
                    if let Ok(document) = DocumentId::parse(address.document()) {
                        live.renew(identity, &document, &self.shared).await?;
                    }
                }
                (Said::Renewed(..), _) => {}
            }
        }
        Ok(())
    }

    /// Hears whether a document that lives elsewhere has room.
    fn hear_of_other_node(&mut self, News { address, outbox, what }: News) {
        let away = match self.seats.get_mut(&address) {
            Some(Seat::Away(away, _)) if Arc::ptr_eq(&away.outbox, &outbox) => away,
            // It was left meanwhile.
            _ => return,
        };
        match what {
            Ok(()) => {
                away.is_admitted = true;
                self.others_stay_outside();
            }
            Err(reason) => {
                self.shared.metrics.ended(reason.label());
                drop(self.leave(&address));
                self.stays_outside(address, reason);
            }
        }
    }

    /// Ends a session for `reason`, or the whole socket.
    fn end(&mut self, address: &Address, reason: CloseReason) -> Result<(), CloseReason> {
        let Some(Seat::Live(live)) = self.seats.get(address) else {
            return Ok(());
        };
        let dialect = live.dialect.clone();
        self.shared.metrics.ended(reason.label());
        drop(self.leave(address));
        self.refuse(address.clone(), &dialect, reason)
    }

    fn refuse(&mut self, address: Address, dialect: &Dialect, reason: CloseReason) -> Result<(), CloseReason> {
        match dialect.ends(&reason).line {
            Some(reason) => Err(reason),
            None => {
                self.deny(address, &reason);
                Ok(())
            }
        }
    }

    /// A document cannot be entered for now. Others of its socket go on.
    fn stays_outside(&mut self, address: Address, reason: CloseReason) {
        let is_in = |seat: &Seat| match seat {
            Seat::Live(_) => true,
            Seat::Away(away, _) => away.is_admitted,
            _ => false,
        };
        if self.seats.values().any(is_in) {
            return self.deny(address, &reason);
        }
        self.said_before(&address);
        self.remember(address.clone(), Seat::Denied);
        self.outside.until.get_or_insert_with(|| Instant::now() + ALONE);
        self.outside.documents.retain(|(outside, _)| *outside != address);
        if self.outside.documents.len() < DOCUMENTS_MAX {
            self.outside.documents.push((address, reason));
        }
    }

    /// The socket has a document: those that had no room are denied, and it goes on without them.
    fn others_stay_outside(&mut self) {
        for (outside, reason) in std::mem::take(&mut self.outside).documents {
            self.deny(outside, &reason);
        }
    }

    fn deny(&mut self, address: Address, reason: &CloseReason) {
        self.said_before(&address);
        refusals::say(format_args!(
            "document {} was denied on connection {}: {reason}",
            refusals::short(address.document()),
            self.id
        ));
        let dialect = Dialect::Hocuspocus {
            address: address.clone(),
            has_version: false,
        };
        if let Some(denied) = dialect.frame(Outbound::Denied(&dialect.denial(reason))) {
            self.own.push(denied, Kind::Other);
        }
        self.remember(address, Seat::Denied);
    }

    /// Remembers a document without a session, as long as there is room for that.
    fn remember(&mut self, address: Address, seat: Seat) {
        if self.seats.len() >= DOCUMENTS_MAX {
            self.seats.retain(|_, seat| !seat.is_remembered());
        }
        if self.seats.len() < DOCUMENTS_MAX {
            self.remembered_bytes += REMEMBERED_COST + address.bytes();
            self.seats.insert(address, seat);
        }
        if self.remembered_bytes > REMEMBERED_BYTES {
            // Some have come back.
            let remembered = self.seats.iter().filter(|(_, seat)| seat.is_remembered());
            self.remembered_bytes = remembered.map(|(address, _)| REMEMBERED_COST + address.bytes()).sum();
        }
    }

    /// Counts what is kept for later among what all connections keep (L81).
    fn keeps(&mut self) -> Result<(), CloseReason> {
        self.kept
            .wait(self.waiting.bytes + self.opening_bytes + self.remembered_bytes)
    }

    /// The client has left a document. What it said before counts; what it was to be told does not. Returns what says
    /// that the document has heard of it.
    fn leave(&mut self, address: &Address) -> Option<Gone> {
        match self.seats.remove(address) {
            Some(Seat::Live(live)) => {
                live.outbox.hang_up();
                log::debug!("session {} of document {} has ended", live.id.0, address.document());
                let Live {
                    id,
                    actor,
                    batch,
                    here,
                    gone,
                    ..
                } = live;
                actix_web::rt::spawn(async move {
                    if !batch.is_empty() {
                        let _ = batch.hand_over(&actor, id).await;
                    }
                    actor.do_send(Leave(id));
                    drop(here);
                });
                Some(gone)
            }
            Some(Seat::Opening(opening)) => {
                self.opening_bytes -= lock(&opening.said).bytes;
                opening.outbox.hang_up();
                Some(opening.gone)
            }
            Some(Seat::Away(away, gone)) => {
                away.outbox.hang_up();
                Some(gone)
            }
            Some(seat @ Seat::Waiting(_)) => {
                self.seats.insert(address.clone(), seat);
                self.said_before(address);
                None
            }
            Some(Seat::Left(gone)) => Some(gone),
            Some(Seat::Denied) | None => None,
        }
    }

    /// Whether somebody is here.
    fn has_session(&self) -> bool {
        self.seats.values().any(Seat::is_session)
    }

    /// Hands over what was gathered.
    async fn hand_over(&mut self) -> Result<(), CloseReason> {
        self.has_full_batch = false;
        for address in std::mem::take(&mut self.touched) {
            let Some(Seat::Live(live)) = self.seats.get_mut(&address) else {
                continue;
            };
            let batch = std::mem::take(&mut live.batch);
            if !batch.is_empty() && !live.outbox.is_closing() {
                batch.hand_over(&live.actor, live.id).await?;
            }
        }
        Ok(())
    }
}

/// Whether it is another time that makes the difference, and nothing that a client would do otherwise.
fn is_for_now(reason: &CloseReason) -> bool {
    matches!(reason, CloseReason::Exceeded(_) | CloseReason::Overloaded(_))
}

impl Seat {
    /// Whether it is a session that has not ended.
    fn is_session(&self) -> bool {
        match self {
            Self::Opening(_) => true,
            Self::Live(live) => !live.outbox.is_closing(),
            Self::Away(away, _) => !away.outbox.is_closing(),
            Self::Waiting(_) | Self::Denied | Self::Left(_) => false,
        }
    }

    /// Whether it is no more than the memory of a document that has no session.
    fn is_remembered(&self) -> bool {
        matches!(self, Self::Denied | Self::Left(_))
    }
}

impl Opening {
    /// Keeps it; returns what that costs, in bytes.
    fn say(&mut self, said: Said) -> usize {
        lock(&self.said).add(said)
    }
}

impl Meanwhile {
    fn add(&mut self, said: Said) -> usize {
        let cost = match &said {
            Said::Message(unread) => unread.bytes(),
            Said::Renewed(_, shown) => RENEWAL_COST + shown.token.len(),
        };
        self.bytes += cost;
        self.said.push(said);
        cost
    }
}

impl Live {
    /// From here on another token holds; what was said before is handed over before.
    async fn renew(&mut self, identity: Identity, document: &DocumentId, shared: &Shared) -> Result<(), CloseReason> {
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_empty() {
            batch.hand_over(&self.actor, self.id).await?;
        }
        let expires = identity.expires_at_ms.map(clock::at_wall_ms);
        self.actor.do_send(Renew {
            session: self.id,
            identity: identity.clone(),
            expires,
        });
        // A revocation since the token was judged found the session as it was before.
        if shared.keys.is_some() {
            session::obey(shared, &self.actor, self.id, &identity, document)?;
        }
        Ok(())
    }
}

impl Joined {
    /// Its client has left again: its document is told what it had said, and that it is gone.
    fn leave(self) {
        let said = std::mem::take(&mut *lock(&self.said));
        let (id, here) = (self.id, self.here);
        let actor = match self.found {
            Ok(Found::Here(actor)) => actor,
            Ok(Found::There(answer)) => {
                let (address, ties) = (self.address.clone(), self.ties);
                let away = Away::begin(answer, address, self.outbox, self.own, here, ties, &self.shared);
                actix_web::rt::spawn(async move {
                    away.say(self.token.message(&self.address)).await;
                    say_all(&away, &self.address, said).await;
                });
                return;
            }
            Err(_) => return,
        };
        let (shared, own) = (self.shared, self.own);
        actix_web::rt::spawn(async move {
            let mut batch = Batch::default();
            for said in said.said {
                let Said::Message(unread) = said else { break };
                let bytes = unread.bytes();
                let read = session::aside(&shared, own.line(), bytes, move || unread.read()).await;
                let Ok((Ok(inbound), waiting)) = read else { break };
                batch.add(bytes, inbound);
                batch.holds(waiting);
            }
            if !batch.is_empty() {
                let _ = batch.hand_over(&actor, id).await;
            }
            actor.do_send(Leave(id));
            drop(here);
        });
    }
}

/// Says to another node what a client said while it was looked for.
async fn say_all(away: &Away, address: &Address, said: Meanwhile) {
    for said in said.said {
        away.say(match said {
            Said::Message(unread) => unread.again(address),
            Said::Renewed(_, shown) => shown.message(address),
        })
        .await;
    }
}

fn lock(said: &Mutex<Meanwhile>) -> MutexGuard<'_, Meanwhile> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}
