//! One unary gRPC call over and over, on a connection of its own: HTTP/2 and nothing above it. A
//! request is one write, headers and message together.

use anyhow::Context as _;
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Response, Uri, Version, header::CONTENT_TYPE};
use prost::Message;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};
use trainyard_pki::Connector;

/// What precedes a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The calls of one method at one server.
pub(super) struct Unary {
    send: SendRequest<Bytes>,
    uri: Uri,
    /// Moves the connection's bytes.
    _connection: AbortOnDropHandle<()>,
}

impl Unary {
    /// Connects to `host:port` for calls of `method`, `/package.Service/Method`.
    pub(super) async fn connect(
        connector: &Connector,
        address: &str,
        method: &str,
    ) -> anyhow::Result<Self> {
        let uri: Uri = format!("https://{address}{method}").parse()?;
        let host = uri.host().context("an address has a host")?;
        let port = uri.port_u16().context("an address has a port")?;
        let stream = connector.connect(host, port).await?;
        let (send, connection) = h2::client::handshake(stream).await?;
        let moving = tokio::spawn(async move {
            // What broke it is told to whoever waits for an answer.
            let _ = connection.await;
        });
        Ok(Self { send, uri, _connection: AbortOnDropHandle::new(moving) })
    }

    /// Asks, and waits for the answer.
    pub(super) async fn call<A: Message + Default>(
        &mut self,
        question: &impl Message,
    ) -> Result<A, Status> {
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.version_mut() = Version::HTTP_2;
        *head.uri_mut() = self.uri.clone();
        head.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
        head.headers_mut().insert("te", http::HeaderValue::from_static("trailers"));
        let (answer, mut body) = self.send.send_request(head, false).map_err(broken)?;
        body.send_data(framed(question)?, true).map_err(broken)?;
        read(answer.await.map_err(broken)?).await
    }
}

fn framed(message: &impl Message) -> Result<Bytes, Status> {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).map_err(|error| Status::internal(error.to_string()))?);
    message.encode(&mut frame).map_err(|error| Status::internal(error.to_string()))?;
    Ok(frame.freeze())
}

async fn read<A: Message + Default>(answer: Response<h2::RecvStream>) -> Result<A, Status> {
    let (head, mut body) = answer.into_parts();
    let mut frame = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(broken)?;
        body.flow_control().release_capacity(data.len()).map_err(broken)?;
        frame.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.map_err(broken)?;
    judge(trailers.as_ref().unwrap_or(&head.headers))?;
    let message = frame.get(PREFIX..).ok_or_else(|| Status::internal("an answer without one"))?;
    A::decode(message).map_err(|error| Status::internal(error.to_string()))
}

/// The status that ends every answer.
fn judge(trailers: &HeaderMap) -> Result<(), Status> {
    match Status::from_header_map(trailers) {
        Some(status) if status.code() == Code::Ok => Ok(()),
        Some(status) => Err(status),
        None => Err(Status::internal("an answer without a status")),
    }
}

fn broken(error: h2::Error) -> Status {
    Status::unavailable(error.to_string())
}
