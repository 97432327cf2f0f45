//! Requests as they come in, and answers as they go out: a request that grows too large or pauses
//! too long is cut off with a status; an answer keeps its caller's place taken until it is
//! dropped.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tonic::{Status, body::Body};

use super::{limits::Open, table::Rule};

/// A request's body within its limits.
pub(super) struct Bounded {
    inner: Body,
    left: u64,
    most: u64,
    pause: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl Bounded {
    pub(super) fn new(inner: Body, rule: &Rule) -> Self {
        let pause = rule.pause.map(|span| (span, Box::pin(sleep(span))));
        Self { inner, left: rule.most_bytes, most: rule.most_bytes, pause }
    }
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let Some((span, timer)) = &mut this.pause else { return Poll::Pending };
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                let text = format!("nothing of the request came for {} s", span.as_secs());
                return Poll::Ready(Some(Err(Status::deadline_exceeded(text))));
            }
        };
        if let Some((span, timer)) = &mut this.pause {
            timer.as_mut().reset(Instant::now() + *span);
        }
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let size = u64::try_from(data.len()).unwrap_or(u64::MAX);
            match this.left.checked_sub(size) {
                Some(left) => this.left = left,
                None => {
                    let text = format!("the request is larger than {} bytes", this.most);
                    return Poll::Ready(Some(Err(Status::resource_exhausted(text))));
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer's body, with the place that it takes. One that goes on for long is asked again and
/// again whether its caller may still listen.
pub(super) struct Held {
    inner: Body,
    _open: Open,
    recheck: Option<Recheck>,
    over: bool,
}

/// Whether a caller may still listen; why not, if not.
type StillGood = Box<dyn Fn() -> Result<(), Status> + Send>;

struct Recheck {
    good: StillGood,
    timer: Pin<Box<Sleep>>,
}

/// How often that is asked.
const RECHECK: Duration = Duration::from_secs(5);

impl Held {
    pub(super) fn new(inner: Body, open: Open, good: Option<StillGood>) -> Self {
        let recheck = good.map(|good| Recheck { good, timer: Box::pin(sleep(RECHECK)) });
        Self { inner, _open: open, recheck, over: false }
    }
}

impl Recheck {
    fn poll(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        while self.timer.as_mut().poll(cx).is_ready() {
            (self.good)()?;
            self.timer.as_mut().reset(Instant::now() + RECHECK);
        }
        Ok(())
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Some(Err(status)) = self.recheck.as_mut().map(|recheck| recheck.poll(cx)) {
            self.over = true;
            let mut trailers = http::HeaderMap::new();
            status.add_header(&mut trailers)?;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
