//! A TCP connection before it has said anything: whose it is, and whether there is room for it.

use std::{io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use actix_http::error::DispatchError;
use actix_service::{Service, ServiceFactory, fn_factory, fn_service};
use actix_web::rt::{net::TcpStream, time::timeout};

use crate::http::{
    doorkeeper::{Doorkeeper, Place},
    proxy_protocol,
};

/// Hands connections to `http`, together with the address that they come from. Each counts as one that is not a WebSocket
/// until `http` is done with it: when it has ended, or was answered and became one.
pub fn service<H>(
    http: H,
    keeper: Arc<Doorkeeper>,
    patience: Duration,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()>
where
    H: ServiceFactory<
            (TcpStream, Option<SocketAddr>),
            Config = (),
            Response = (),
            Error = DispatchError,
            InitError = (),
        > + 'static,
    H::Service: 'static,
{
    let http = Rc::new(http);
    fn_factory(move || {
        let (http, keeper) = (http.clone(), keeper.clone());
        async move {
            let http = Rc::new(http.new_service(()).await?);
            Ok(fn_service(move |stream: TcpStream| {
                let (http, keeper) = (http.clone(), keeper.clone());
                async move {
                    match arrive(stream, &keeper, patience).await {
                        Ok((stream, peer, _place)) => http.call((stream, peer)).await,
                        Err(error) => {
                            log::debug!("a connection was not taken: {error}");
                            Ok(())
                        }
                    }
                }
            }))
        }
    })
}

type Arrived = (TcpStream, Option<SocketAddr>, Option<Place>);

async fn arrive(mut stream: TcpStream, keeper: &Arc<Doorkeeper>, patience: Duration) -> io::Result<Arrived> {
    let mut peer = stream.peer_addr().ok();
    if keeper.speaks_proxy_protocol() {
        let said = timeout(patience, proxy_protocol::read(&mut stream)).await;
        let said = said.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        peer = said.inspect_err(|error| keeper.says_nothing(peer, error))?.or(peer);
    }
    let place = keeper.is_silent(peer).ok_or(io::ErrorKind::QuotaExceeded)?;
    Ok((stream, peer, place))
}
