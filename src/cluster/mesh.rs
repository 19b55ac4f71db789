//! One connection of the mesh after its greeting: frames in and frames out,
//! each with its length before it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsStream;
use tracing::{debug, error, warn};

use crate::cluster::driver::Driver;
use crate::cluster::frame::{FRAME_BYTES_MAX, Frame, FrameError};
use crate::cluster::handle::{Cluster, FRAMES_MAX};
use crate::cluster::handshake::Greeted;
use crate::cluster::line::Line;
use crate::cluster::news::{Dialed, Input};
use crate::cluster::node::LinkId;
use crate::cluster::protocol::Protocol;
use crate::metrics;

/// The length of a frame, as it is written before it.
const LENGTH_BYTES: usize = 4;

/// Frames that are written together.
const BATCH_MAX: usize = 256;

/// A buffer that grew above this is given back when it is empty.
const BUFFER_BYTES_KEPT: usize = 256 << 10;

/// Runs a greeted connection until both sides are started; its tasks end with
/// it.
pub(super) async fn run(
    driver: &Arc<Driver>,
    greeted: Greeted,
    dialed: Dialed,
    address: Option<SocketAddr>,
) {
    let Greeted { node, tls, protocol } = greeted;
    let cluster = &driver.cluster;
    let link = cluster.next_link();
    debug!(node = %node.name, link = link.0, ?dialed, %protocol, "connected");
    let (reading, writing) = split(tls);
    let (frames, to_write) = mpsc::channel(FRAMES_MAX);
    // the core hears of the link before it hears a frame of it
    let (start, started) = tokio::sync::oneshot::channel::<()>();
    let reader = tokio::spawn({
        let cluster = Arc::clone(cluster);
        async move {
            if started.await.is_ok() {
                let lost = read(&cluster, (link, protocol), reading).await;
                debug!(link = link.0, reason = %lost, "connection lost");
                cluster.input(Input::LinkLost { link });
            }
        }
    });
    let writer = tokio::spawn({
        let (cluster, still_writing) = (Arc::clone(cluster), driver.writing());
        async move {
            if let Err(error) = write(writing, protocol, to_write).await {
                debug!(link = link.0, %error, "connection lost");
                cluster.input(Input::LinkLost { link });
            }
            drop(still_writing);
        }
    });
    let (reader, writer) = (reader.abort_handle(), writer.abort_handle());
    let line = Line { frames, protocol, reader, writer };
    cluster.link_up((link, node), line, dialed, address);
    // a reader that is gone already was cut by the core
    let _ = start.send(());
}

/// Why a connection is read no more.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("closed by the peer")]
    Closed,
}

async fn read(
    cluster: &Arc<Cluster>,
    (link, protocol): (LinkId, Protocol),
    mut half: ReadHalf<TlsStream<TcpStream>>,
) -> Lost {
    let mut buffer = BytesMut::new();
    loop {
        let mut inputs = Vec::new();
        let broken = loop {
            match next(protocol, &mut buffer) {
                Ok(Some(frame)) => inputs.push(Input::Frame { link, frame }),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if inputs.is_empty() {
            inputs.push(Input::Heard { link });
        }
        cluster.inputs(inputs);
        cluster.flush.notify_one();
        if let Some(error) = broken {
            metrics::count(metrics::MESH_REFUSED, "frame");
            warn!(link = link.0, %error, "a node sent what is no frame");
            return error.into();
        }
        cluster.room().await;
        if buffer.is_empty() && buffer.capacity() > BUFFER_BYTES_KEPT {
            buffer = BytesMut::new();
        }
        buffer.reserve(16 << 10);
        match half.read_buf(&mut buffer).await {
            Ok(0) => return Lost::Closed,
            Ok(_) => {}
            Err(error) => return error.into(),
        }
    }
}

/// Cuts one whole frame.
pub(super) fn next(protocol: Protocol, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong);
    }
    if buffer.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    buffer.advance(LENGTH_BYTES);
    Frame::decode(protocol, &buffer.split_to(length)).map(Some)
}

async fn write(
    mut half: WriteHalf<TlsStream<TcpStream>>,
    protocol: Protocol,
    mut frames: mpsc::Receiver<Frame>,
) -> std::io::Result<()> {
    let mut batch = Vec::new();
    let mut buffer = Vec::new();
    while frames.recv_many(&mut batch, BATCH_MAX).await > 0 {
        for frame in batch.drain(..) {
            put(&frame, protocol, &mut buffer);
        }
        metrics::add(metrics::MESH_BYTES, buffer.len());
        half.write_all(&buffer).await?;
        half.flush().await?;
        buffer.clear();
        if buffer.capacity() > BUFFER_BYTES_KEPT {
            buffer = Vec::new();
        }
    }
    half.shutdown().await
}

pub(super) fn put(frame: &Frame, protocol: Protocol, buffer: &mut Vec<u8>) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; LENGTH_BYTES]);
    if let Err(error) = frame.encode(protocol, buffer) {
        error!(%error, "a frame of ours cannot be written");
        return buffer.truncate(start);
    }
    let length = u32::try_from(buffer.len() - start - LENGTH_BYTES).unwrap_or(u32::MAX);
    if let Some(place) = buffer.get_mut(start..start + LENGTH_BYTES) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}
