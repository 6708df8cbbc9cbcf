//! The answer to `grpc.health.v1.Health`: may requests be sent here.

use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::HealthReporter;

/// The largest request in bytes: the name of a service.
const MAX_REQUEST_BYTES: usize = 1024;

/// Sets what probes are told. The gRPC service that answers them is the other half of
/// [`service_health`].
#[derive(Clone, Debug)]
pub struct ServiceHealth {
    reporter: HealthReporter,
    services: &'static [&'static str],
}

/// The state and the gRPC service that reports it, for the server as a whole (the empty name) and
/// for each of `services` (their full gRPC names). Nothing serves until [`ServiceHealth::serving`].
pub async fn service_health(services: &'static [&'static str]) -> (ServiceHealth, HealthServer<impl Health>) {
    let (reporter, service) = tonic_health::server::health_reporter();
    let health = ServiceHealth { reporter, services };
    health.draining().await;
    (health, service.max_decoding_message_size(MAX_REQUEST_BYTES))
}

impl ServiceHealth {
    /// Requests are answered.
    pub async fn serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    /// No new requests, please: the agent stops.
    pub async fn draining(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    async fn set(&self, status: ServingStatus) {
        for service in std::iter::once("").chain(self.services.iter().copied()) {
            self.reporter.set_service_status(service, status).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Request;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};
    use tonic_health::server::HealthService;

    use super::*;

    async fn status(health: &ServiceHealth, service: &str) -> Option<i32> {
        let asked = HealthService::from_health_reporter(health.reporter.clone());
        let request = Request::new(HealthCheckRequest { service: service.into() });
        asked.check(request).await.ok().map(|answer| answer.into_inner().status)
    }

    #[tokio::test]
    async fn every_service_serves_between_start_and_drain() {
        let (health, _service) = service_health(&["SpiffeWorkloadAPI"]).await;
        for service in ["", "SpiffeWorkloadAPI"] {
            assert_eq!(status(&health, service).await, Some(NotServing as i32), "{service:?} before");
            health.serving().await;
            assert_eq!(status(&health, service).await, Some(Serving as i32), "{service:?} while up");
            health.draining().await;
            assert_eq!(status(&health, service).await, Some(NotServing as i32), "{service:?} after");
        }
        assert_eq!(status(&health, "Other").await, None);
    }
}
