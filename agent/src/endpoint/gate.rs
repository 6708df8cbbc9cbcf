//! Stands in front of every service: lets a request in if its caller may have one more in
//! flight, works on it when it is its turn, and counts it as a stream when it goes on.
//!
//! Who is refused here was not attested, and is told `Unavailable`, which clients try again
//! later (`SPIFFE_Workload_Endpoint.md`, appendix A: shedding load).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Bytes, Service, http};
use tower_layer::Layer;

use super::connection::Arrival;
use crate::admission::{Admission, Kind, Place};

/// The layer around all services of an endpoint.
#[derive(Clone)]
pub(super) struct Gate {
    admission: Arc<Admission>,
}

impl Gate {
    pub(super) fn new(admission: Arc<Admission>) -> Self {
        Self { admission }
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, admission: Arc::clone(&self.admission) }
    }
}

/// All services, behind the gate.
#[derive(Clone)]
pub(super) struct Gated<S> {
    inner: S,
    admission: Arc<Admission>,
}

impl<S> Service<http::Request<Body>> for Gated<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        // Only a connection that did not come through our endpoint has no arrival.
        let arrival = request.extensions_mut().remove::<Arrival>();
        let place = arrival.as_ref().and_then(|Arrival { caller, key }| {
            let place = self.admission.place(Kind::Request, key, caller.pid())?;
            request.extensions_mut().insert(Arc::clone(caller));
            Some(place)
        });
        let Some(place) = place else { return Box::pin(std::future::ready(Ok(refused().into_http()))) };
        // The one that said it is ready is the one to call.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let admission = Arc::clone(&self.admission);
        Box::pin(async move {
            // Called in its turn: a service may begin its work in the call.
            let answer = admission.in_turn(place.key(), async { inner.call(request).await }).await?;
            Ok(answer.map(|body| Body::new(Answer { body, place: Some(place) })))
        })
    }
}

fn refused() -> Status {
    Status::unavailable("the agent cannot serve this request now")
}

/// The body of an answer, and the place that its request holds until it is sent.
struct Answer {
    body: Body,
    /// None once the answer has been cut off.
    place: Option<Place>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Self { body, place } = &mut *self;
        let Some(held) = place else { return Poll::Ready(None) };
        // The one answer to a request is there at once; what waits for more to say is a stream.
        let next = Pin::new(body).poll_frame(cx);
        if next.is_ready() || held.becomes_stream() {
            return next;
        }
        *place = None;
        let mut trailers = http::HeaderMap::new();
        Poll::Ready(Some(refused().add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.place.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
