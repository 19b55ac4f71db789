//! A component (XEP-0114) that sends every message back, and users who write
//! to it.

use std::net::SocketAddr;
use std::rc::Rc;

use clap::Args;
use jabiru::net::socket::Socket;
use sha1::{Digest, Sha1};
use tokio::net::TcpStream;

use crate::Target;
use crate::chat::{Chat, Shared, Talker, measure};
use crate::client::Client;
use crate::scan;
use crate::sessions::log_all_in;

/// Where the component is connected.
#[derive(Args, Clone, Debug)]
pub struct Service {
    /// The port for components.
    #[arg(long)]
    component_server: SocketAddr,
    /// Its domain.
    #[arg(long, default_value = "echo.localhost")]
    component_domain: String,
    /// Its secret.
    #[arg(long, default_value = "secret")]
    component_secret: String,
}

impl Service {
    /// A stream that has shown its secret.
    async fn connect(&self) -> anyhow::Result<Client> {
        let tcp = TcpStream::connect(self.component_server).await?;
        tcp.set_nodelay(true)?;
        let mut client = Client::over(Socket::Plain(tcp));
        client
            .say(&format!(
                "<stream:stream to='{}' xmlns='jabber:component:accept' \
                 xmlns:stream='http://etherx.jabber.org/streams'>",
                self.component_domain
            ))
            .await?;
        let opened = client.until("stream:stream").await?;
        let id = scan::next(opened.as_bytes()).and_then(|(seen, _)| seen.attribute("id"));
        let digest = Sha1::digest(format!("{}{}", id.unwrap_or_default(), self.component_secret));
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        client.say(&format!("<handshake>{hex}</handshake>")).await?;
        client.until("handshake").await?;
        Ok(client)
    }
}

/// All users write to it, and answer what it sends back.
pub async fn component(target: &Target, service: &Service, chat: &Chat) -> anyhow::Result<()> {
    let shared = Shared::new()?;
    let echo = echo(service.connect().await?);
    let body: Rc<str> = "x".repeat(chat.body).into();
    let mut talks: Vec<std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>>>>> =
        vec![Box::pin(echo)];
    for mut client in log_all_in(target, target.users).await? {
        client.say("<presence/>").await?;
        client.until("presence").await?;
        let to = format!("x@{}", service.component_domain);
        talks.push(Box::pin(Talker::new(client, to, &body, &shared).answer(chat.window)));
    }
    measure(target, chat, &shared, talks.into_iter()).await
}

/// Sends every message back to who sent it, with all that is in it.
async fn echo(mut client: Client) -> anyhow::Result<()> {
    let mut out = String::new();
    loop {
        while let Some((seen, end)) = scan::next(&client.buffer) {
            if seen.is("message")
                && !seen.is_error()
                && let (Some(from), Some(to), Some(id)) =
                    (seen.attribute("from"), seen.attribute("to"), seen.attribute("id"))
            {
                let text = std::str::from_utf8(seen.text)?;
                let inside = text.split_once('>').map_or("", |(_, inside)| inside);
                out.push_str(&format!(
                    "<message type='chat' id='{id}' from='{to}' to='{from}'>{inside}"
                ));
            }
            let _ = client.buffer.split_to(end);
        }
        client.say(&out).await?;
        out.clear();
        client.read().await?;
    }
}
