//! A bare relay: it copies bytes between two connections and looks at none of
//! them. No server can do less for a message.

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// The first line of a connection: the number of its pair.
pub const GREETING_BYTES: usize = 8;

/// Serves until it is killed.
pub async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let mut waiting: HashMap<u64, TcpStream> = HashMap::new();
    loop {
        let (mut one, _) = listener.accept().await?;
        one.set_nodelay(true)?;
        let mut greeting = [0; GREETING_BYTES];
        if one.read_exact(&mut greeting).await.is_err() {
            // somebody who only looked whether we are there
            continue;
        }
        let pair = u64::from_be_bytes(greeting);
        match waiting.remove(&pair) {
            None => drop(waiting.insert(pair, one)),
            Some(mut other) => {
                tokio::spawn(async move {
                    // either end may go
                    let _ = copy_bidirectional(&mut one, &mut other).await;
                });
            }
        }
    }
}
